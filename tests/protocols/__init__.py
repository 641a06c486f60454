"""One corpus through every door, and what each door bears."""
