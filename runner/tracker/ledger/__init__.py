"""What the tracker knows of the jobs that are not reported: records, the judgement on them, and what is due next.

In here: everything that is decided. It does no I/O and starts nothing; it only reads the clock. Not in here: sources,
which fill it, and the steps, which carry out what it gives.
"""
