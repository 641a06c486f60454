"""`make bench`: speed and memory. Each figure is compared with another figure of the same run on the same machine.

Absolute figures of one machine cannot be compared with those of another machine, or of another hour. So each measure
here is a ratio, a difference or a size, with the bound that the project sets for it. Runs that are compared alternate.
No measure is a test: a test that depends on time is flaky.
"""
