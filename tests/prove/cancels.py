"""Cancels that race their analyses, on each engine: one confirmation each, and nothing is left running."""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.prove.requests import CONNECTIONS, Client
from tests.prove.stage import Proof, Settings, Stage, nomad_programs, simulated_ends, stage

RACE_SECONDS = 0.4
"""How far a cancel may come before or after its analysis."""

CANCELLED, CANNOT = 5000, 5001


def cancels_kubernetes(settings: Settings) -> Proof:
    """Cancels that race analyses on Kubernetes. Some of the runs end by themselves at about that time."""
    with stage(settings) as opened:
        simulated_ends(opened, seconds=RACE_SECONDS)
        _race(opened.client, settings.ends, settings.random("cancels"))
        return _proof(opened, 120)


def cancels_nomad(settings: Settings) -> Proof:
    """Cancels that race analyses on Nomad."""
    with stage(settings) as opened:
        nomad_programs(opened)
        _race(opened.client, settings.ends, settings.random("cancels"))
        return _proof(opened, 180)


def _proof(opened: Stage, seconds: float) -> Proof:
    """One confirmation of each cancel, and one answer to what became of a run: 5000, or its own end and 5001."""
    found = opened.settled(seconds)
    codes = {each.run_id: each.code for each in opened.atlas.accepted()}
    reported = Counter(codes[each.run_id] for each in opened.client.asked if each.run_id in codes)
    failures = [f"{found.doubled} results came twice"] if found.doubled else []
    for run, cancel in opened.client.cancels.items():
        if (run in codes) != (codes.get(cancel) == CANNOT) and run.startswith("exit3-"):
            failures.append(f"{run}: {codes.get(run, 'nothing')}, but its cancel {codes.get(cancel)}")
    return Proof(
        found, (", ".join(f"{count} times {code}" for code, count in sorted(reported.items())),), tuple(failures)
    )


def _race(client: Client, count: int, source: random.Random) -> None:
    """Send analyses, and a cancel of each, at random distances."""
    runs = [(client.run_id(source.choice(("hold", "exit3", "ok"))), source.uniform(-1, 1)) for _ in range(count)]

    def analysis(run: tuple[str, float]) -> None:
        time.sleep(max(0.0, -run[1] * RACE_SECONDS))
        codes = (5107,) if run[0].startswith("exit3") else ()
        client.analysis("", codes, run_id=run[0], optional=True)

    def cancel(run: tuple[str, float]) -> None:
        time.sleep(max(0.0, run[1] * RACE_SECONDS))
        client.cancel(run[0], (CANCELLED, CANNOT))

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        both = [(step, run) for run in runs for step in (analysis, cancel)]
        list(threads.map(lambda each: each[0](each[1]), both))
