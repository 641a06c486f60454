"""What happens to each run: drawn from the seed when its pod or allocation is made."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

WEIGHTS: dict[str, float] = {
    "succeeds": 34,
    "analyzer fails": 12,
    "clone fails": 6,
    "out of memory": 4,
    "image missing": 5,
    "registry recovers": 3,
    "never fits": 4,
    "fits later": 3,
    "hangs": 3,
    "evicted": 4,
    "node lost": 3,
    "pod deleted": 4,
    "disk full": 2,
    "program missing": 2,
    "lingers": 4,
    "lingers after failure": 3,
}

EVERYWHERE = frozenset(
    {
        "succeeds",
        "analyzer fails",
        "clone fails",
        "out of memory",
        "image missing",
        "never fits",
        "hangs",
        "node lost",
        "fits later",
    }
)
"""The fates that Nomad knows as well."""

QUEUE_SECONDS = 40
"""How long a job of the simulation may wait for its first container."""

ADMISSION_SECONDS = 60
"""How long a queue may hold a job of the simulation."""

CODES: dict[str, frozenset[int]] = {
    "succeeds": frozenset(),
    "registry recovers": frozenset(),
    "fits later": frozenset(),
    "lingers": frozenset(),
    "analyzer fails": frozenset({5107}),
    "lingers after failure": frozenset({5107}),
    "clone fails": frozenset({5103}),
    "out of memory": frozenset({5104}),
    "image missing": frozenset({5101}),
    "never fits": frozenset({5102}),
    "hangs": frozenset({5105}),
    "evicted": frozenset({5106}),
    "node lost": frozenset({5105, 5106}),
    "pod deleted": frozenset({5106}),
    "disk full": frozenset({5110}),
    "program missing": frozenset({5108}),
    "deleted": frozenset({5109}),
    "incomplete": frozenset({5101, 5102, 5105, 5108, 5199}),
    "deadline": frozenset({5105}),
    "not admitted": frozenset({5111}),
}
"""The status codes that each happening justifies."""


@dataclass(frozen=True)
class Fate:
    """One run's fate, and its durations in seconds."""

    kind: str
    schedule: float
    prepare: float
    clone: float
    run: float
    recover: float
    """Until the registry answers, or a node has room."""

    @property
    def publishes(self) -> bool:
        """Whether the program publishes its own result."""
        return self.kind in ("succeeds", "registry recovers", "fits later", "lingers")

    @property
    def shortage(self) -> tuple[str, str]:
        """What happens where no node has room: the cause of an end, or a delay that no limit is passed by."""
        lasting = self.kind == "never fits" or self.recover >= QUEUE_SECONDS
        return ("happened", "never fits") if lasting else ("delayed", "capacity")


def drawn(random: Random, allowed: frozenset[str] | None = None) -> Fate:
    """A fate."""
    kinds = [kind for kind in WEIGHTS if allowed is None or kind in allowed]
    kind = random.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
    return Fate(
        kind,
        schedule=0.05 + random.random() * 2,
        prepare=0.1 + random.random() * 3,
        clone=0.2 + random.random() * 5,
        run=0.2 + random.random() ** 2 * 25,
        recover=2 + random.random() * 8 + (50 if kind == "fits later" and random.random() < 0.3 else 0),
    )
