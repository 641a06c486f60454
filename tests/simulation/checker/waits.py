"""How long a run may wait before its first container starts, and what may be said of one that waited for longer.

A queue may hold a job for ADMISSION_SECONDS. From then on, or from its creation, it has QUEUE_SECONDS, whether the
cluster makes a pod for it or refuses to.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from tests.simulation.checker.runs import Run
from tests.simulation.fates import ADMISSION_SECONDS, CODES, QUEUE_SECONDS
from tests.simulation.history import Arrival

PROMPT_SECONDS = 12.0
"""When nothing fails: how long after a limit has passed its report may arrive."""

LAG_SECONDS = 8.0
"""How long a job may run that was ended: the controller that removes its pod lags by up to 6 s."""


def started(run: Run) -> float:
    """When its first container started."""
    return _at(run, "started")


def limit(run: Run) -> float:
    """When the run has waited for too long, pod or no pod. A queue that never admits it is another limit."""
    return (_at(run, "admitted") if run.first("held") else run.made) + QUEUE_SECONDS


def held_too_long(run: Run) -> bool:
    """Whether a queue may have held it past the limit."""
    return run.first("held") is not None and _at(run, "admitted") >= run.made + ADMISSION_SECONDS - 1


def refused_too_long(run: Run) -> bool:
    """Whether the cluster may have refused its pod past the limit."""
    return run.first("refused") is not None and _at(run, "pod") >= limit(run) - 1


def overtaken(run: Run) -> bool:
    """Whether it began at its limit, and published its result before a controller stopped it."""
    return started(run) >= limit(run) - 1 and _at(run, "published") <= limit(run) + LAG_SECONDS


def overdue(run: Run, arrivals: list[Arrival]) -> Iterator[str]:
    """For a world without faults: each run starts, or is reported, in time; and a refused one for what it is."""
    said = min((each.at for each in arrivals), default=inf)
    never_admitted = _at(run, "admitted") > run.made + ADMISSION_SECONDS + 1
    held = run.first("held") is not None and never_admitted
    allowed = min(limit(run), run.made + ADMISSION_SECONDS if held else inf) + PROMPT_SECONDS
    if min(started(run), said) > allowed:
        yield f"promise 2: {run.identity} neither started nor was reported by {allowed:.0f} s"
    never = run.first("pod") is None and (held_too_long(run) or refused_too_long(run))
    if never and arrivals and arrivals[0].code not in CODES["not admitted"]:
        yield f"promise 2: {run.identity} was not admitted, and was reported as {arrivals[0].code}"


def _at(run: Run, what: str) -> float:
    fact = run.first(what)
    return fact.at if fact else inf
