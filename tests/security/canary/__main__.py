"""`python -m tests.security.canary`: carries out the runs on the test cluster, and prints the table."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests import cluster
from tests.security.canary import pairs
from tests.security.canary.runs import findings


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.security.canary", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every combination, not only every pair")
    chosen = parser.parse_args()
    if reason := cluster.missing():
        sys.exit(f"the canary needs the test cluster: {reason}")
    with tempfile.TemporaryDirectory(prefix="orchestrator-canary-") as work:
        Path(work).chmod(0o755)
        found = findings(cluster.up(), Path(work), pairs.everything() if chosen.all else pairs.pairwise())
    print(found.table())
    return 1 if any(found.found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
