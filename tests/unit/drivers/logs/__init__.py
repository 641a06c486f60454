"""Following logs: the loop, offsets, and each engine against a scripted server."""
