"""Following the log of a job while it runs: one loop for all drivers, and a source for each engine.

Not in here: what is evidence of an end, which the drivers and the tracker read.
"""
