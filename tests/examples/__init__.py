"""The example programs, as real processes against real repositories and over real HTTP."""
