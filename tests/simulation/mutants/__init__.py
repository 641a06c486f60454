"""Mutants of the product, each one line long: the simulation is trusted as far as it finds them.

In here: the table, with the seeds that find each; and the runner, which changes the source while it is imported, in a
process of its own, and never a file. `python -m tests.simulation.mutants` prints which are found.
"""
