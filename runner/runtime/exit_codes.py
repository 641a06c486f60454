"""What the processes of the Orchestrator exit with; documented in `python -m runner --help`."""

DEFECT = 1
USAGE = 2  # click's own
CONFIGURATION = 3
REFUSED = 4
LATER = 5
