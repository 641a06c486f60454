"""`python -m tests.simulation.mutants [NAME ...]`: which mutants the simulation finds; exit code 1 if it misses one."""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.simulation.mutants.loader import install
from tests.simulation.mutants.table import MUTANTS, Mutant

FOUND = 10
"""The exit code of a process in which a seed has found the mutant. An error has another one."""


def main() -> int:
    """Run the mutants."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="some mutants only")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--seeds", type=int, help="try so many seeds, to find out which one finds a new mutant")
    parser.add_argument("--shrink", action="store_true", help="print a small scenario in which the mutant is found")
    parser.add_argument("--without", type=int, nargs="*", default=[], help="seeds that fail without any mutant")
    asked = parser.parse_args()
    if asked.inside:
        return _hunt(MUTANTS[asked.inside], asked.seeds, frozenset(asked.without), shrink=asked.shrink)
    if asked.shrink:
        return max(map(shrink, asked.names))
    wanted = [MUTANTS[name] for name in asked.names or MUTANTS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = sum(pool.map(lambda mutant: found_by_simulation(mutant, asked.seeds, asked.without), wanted))
    print(f"{found} of {len(wanted)} mutants found")
    return int(found != len(wanted))


def found_by_simulation(mutant: Mutant, seeds: int | None = None, without: Sequence[int] = ()) -> bool:
    """Run the mutant's seeds in a process of its own, and print what came of it."""
    more = [*(["--seeds", str(seeds)] if seeds else []), "--without", *map(str, without)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation.mutants", "--inside", mutant.name, *more],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    last = (done.stdout or done.stderr).strip().rpartition("\n")[2]
    print(f"{'found ' if done.returncode == FOUND else 'MISSED'} {mutant.name}: {last}", flush=True)
    return done.returncode == FOUND


def shrink(name: str) -> int:
    """Print a small scenario in which this mutant is found, from a process of its own. Its exit code."""
    command = [sys.executable, "-m", "tests.simulation.mutants", "--inside", name, "--shrink"]
    return subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "0"}, check=False).returncode


def _hunt(mutant: Mutant, seeds: int | None, without: frozenset[int], *, shrink: bool = False) -> int:
    """In the process of the mutant: FOUND if a seed finds it, 0 if none does, 2 if it cannot be made."""
    logging.getLogger("orchestrator").propagate = False
    install(mutant)
    try:
        from tests.simulation.scheduler import Stuck
        from tests.simulation.world import simulate
    except LookupError as error:
        print(error)
        return 2
    for seed in range(seeds) if seeds else mutant.seeds:
        if seed in without:
            continue
        try:
            found = simulate(seed, mutant.engine).violations
            violations = tuple(each for each in found if each.startswith(("promise", "clients")))
        except Stuck as error:
            violations = (str(error).partition("\n")[0],)
        if violations:
            print(f"seed {seed}: {violations[0]}")
            if shrink:
                from tests.simulation.shrinking import shrunk

                print(shrunk(seed, mutant.engine))
            return FOUND
    print("no seed breaks a promise")
    return 0


if __name__ == "__main__":
    sys.exit(main())
