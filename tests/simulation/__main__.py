"""`python -m tests.simulation --seeds N`: run many seeds and print each that breaks a promise; exit code 1 if any does.

`--replay SEED -v` prints every step of one seed, `--shrink SEED` a small scenario that breaks the same promise.
A run depends on its seed and on nothing else, so the interpreter's own randomness (of hashes) is switched off: the
process starts itself again without it.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from multiprocessing import Pool

from tests.simulation.scenario import ENGINES
from tests.simulation.scheduler import Stuck
from tests.simulation.world import Run, simulate

_PROGRESS_EVERY = 1000
"""Runs, which take a minute or two on two cores."""


def main() -> int:
    """Run the seeds."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    asked = _arguments()
    if asked.shrink is not None:
        return _shrink(asked.shrink, asked.engine or "kubernetes")
    logging.getLogger("orchestrator").propagate = False
    if asked.replay is not None:
        return _replay(asked.replay, asked.engine or "kubernetes", asked.verbose)
    began, done, failed, steps, seconds = time.monotonic(), 0, 0, 0, 0.0
    work = [
        (seed, engine)
        for seed in range(asked.first, asked.first + asked.seeds)
        for engine in ([asked.engine] if asked.engine else ENGINES)
    ]
    with Pool(asked.processes, maxtasksperchild=500) as pool:
        for done, (engine, run) in enumerate(pool.imap(attempt, work, chunksize=4), 1):
            steps, seconds, failed = steps + run.steps, seconds + run.seconds, failed + bool(run.violations)
            if run.violations:
                _print_broken(engine, run)
            if done % _PROGRESS_EVERY == 0:
                print(f"{done} of {len(work)} runs, {time.monotonic() - began:.0f} s", file=sys.stderr)
            if failed >= asked.most:
                break
        pool.terminate()
    took = time.monotonic() - began
    print(
        f"{done} of {len(work)} runs, {failed} broke a promise; {steps:,} steps, {seconds / 3600:,.1f} simulated hours,"
        f" {took:.1f} s"
    )
    return bool(failed)


def attempt(work: tuple[int, str]) -> tuple[str, Run]:
    """One run. What stops it counts as a broken promise."""
    seed, engine = work
    try:
        return engine, simulate(seed, engine)
    except Stuck as error:
        return engine, Run(seed, (f"the run stopped: {error}",), "", 0.0, 0, "")


def _print_broken(engine: str, run: Run) -> None:
    print(f"seed {run.seed} on {engine}; replay: python -m tests.simulation --engine {engine} --replay {run.seed} -v")
    for violation in dict.fromkeys(run.violations):
        print(f"  {violation}")
    sys.stdout.flush()


def _replay(seed: int, engine: str, verbose: bool) -> int:
    run = simulate(seed, engine, trace=verbose)
    print(run.story)
    print(f"seed {seed} on {engine}: {run.steps} steps, {run.seconds:.0f} simulated seconds, trace {run.trace_hash}")
    for violation in dict.fromkeys(run.violations):
        print(f"  {violation}")
    return bool(run.violations)


def _shrink(seed: int, engine: str) -> int:
    from tests.simulation.shrinking import shrunk  # hypothesis takes a while to import

    logging.getLogger("orchestrator").propagate = False
    small = shrunk(seed, engine)
    print(small or f"seed {seed} on {engine} breaks no promise")
    return bool(small)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=300, help="how many (300)")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first one (0)")
    parser.add_argument("--engine", choices=ENGINES, help="one engine only")
    parser.add_argument("--replay", type=int, metavar="SEED", help="run one seed and print its story")
    parser.add_argument("--shrink", type=int, metavar="SEED", help="find a small scenario for what this seed breaks")
    parser.add_argument("-v", dest="verbose", action="store_true", help="with every step")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="how many at once")
    parser.add_argument("--most", type=int, default=5, help="stop after so many seeds that break a promise (5)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
