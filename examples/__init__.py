"""The whole loop, runnable anywhere: a small atlas, a coat that clones, a marvin that analyses.

`coat.py` and `marvin.py` are programs of one file each, copied into images as they are. `atlas` is
a control plane small enough to read. `demo.py` puts them and the Orchestrator together on this
host. Not in here: anything that the Orchestrator needs.
"""
