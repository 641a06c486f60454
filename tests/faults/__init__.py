"""What holds when our processes die, stop, starve or are told to go: only ends of processes, signals and limits here.

A test awaits events, never a span of time; every process is ended by its fixture, orphans included.
"""
