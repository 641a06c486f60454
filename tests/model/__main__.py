"""`python -m tests.model [ENGINE] [--without GUARD]`: explores an engine's protocol, and prints what it finds."""

from __future__ import annotations

import argparse
import sys

from tests.model.explorer import explore
from tests.model.guards import ASSUMPTIONS, GUARDS, WORLDS


def main() -> int:
    """The exit code: 1 if a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("engine", nargs="?", choices=WORLDS, default="kubernetes")
    parser.add_argument("--without", metavar="GUARD", default="", help="take this guard or assumption away")
    asked = parser.parse_args()
    if asked.without and asked.without not in {**GUARDS[asked.engine], **ASSUMPTIONS[asked.engine]}:
        parser.error(f"there is no such guard: {asked.without}; there are {', '.join(GUARDS[asked.engine])}")
    for world in WORLDS[asked.engine](frozenset({asked.without} - {""})):
        found = explore(world)
        print(f"{world.name}: {found}", flush=True)
        if found.broken:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
