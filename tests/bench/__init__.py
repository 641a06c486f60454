"""`make bench`: speed and memory, each figure against another of the same run on the same machine.

Absolute figures of one machine say nothing on the next, and little on the same one an hour later. So each measure here
is a ratio, a difference, or a size, with the bound that the project has set for it; runs that are compared are taken
in turns. Nothing here is a test: a test that depends on time is a flaky one.
"""
