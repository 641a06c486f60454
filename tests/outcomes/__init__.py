"""How each situation that was seen on a real server is judged, and the table that judges it."""
