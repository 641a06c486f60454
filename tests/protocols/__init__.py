"""One corpus through every protocol, and the bounds of each."""
