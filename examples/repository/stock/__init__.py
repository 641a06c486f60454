"""What is in the storehouse, and what it is worth."""
