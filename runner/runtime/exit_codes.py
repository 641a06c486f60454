"""The exit codes of the Orchestrator's processes; `python -m runner --help` describes them."""

DEFECT = 1
USAGE = 2  # click's own
CONFIGURATION = 3
REFUSED = 4
LATER = 5
