"""Example programs around the Orchestrator: a small atlas, a coat that clones, a marvin that analyses.

`coat/` and `marvin/` are the programs of the job images, for a Python without packages. `atlas/` is a small control
plane. `demo.py` runs them and the Orchestrator on this host. Not in here: anything that the Orchestrator imports.
"""
