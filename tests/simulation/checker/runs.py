"""One job under a name, as it truly was."""

from __future__ import annotations

from dataclasses import dataclass

from tests.simulation.history import Fact


@dataclass(frozen=True)
class Run:
    """One job under a name: its Job's uid or its Nomad job's nonce. A name may have several, one after the other."""

    place: str
    identity: str
    facts: tuple[Fact, ...]

    def first(self, *what: str) -> Fact | None:
        return next((fact for fact in self.facts if fact.what in what), None)

    @property
    def engine(self) -> str:
        return self.facts[0].engine

    @property
    def made(self) -> float:
        return self.facts[0].at

    @property
    def gone(self) -> float:
        """When it was removed from the cluster."""
        fact = self.first("deleted", "expired")
        return fact.at if fact else float("inf")

    @property
    def tombstone(self) -> bool:
        return self.facts[0].detail == "tombstone"

    @property
    def yielded(self) -> bool:
        """Whether it was a claim that has yielded to one in another place: removed soon, and never started."""
        return self.first("started") is None and self.first("expired") is not None

    @property
    def published(self) -> bool:
        return self.first("published") is not None

    @property
    def causes(self) -> set[str]:
        """Everything that may explain its end."""
        found = {fact.detail for fact in self.facts if fact.what == "happened"}
        return found | ({"deleted"} if self.first("deleted") else set())

    @property
    def stopped(self) -> float:
        """When its last container ended, or it was removed. A lost node says nothing about it."""
        if self.first("started") is None or "node lost" in self.causes:
            return 0.0
        running = {fact.detail for fact in self.facts if fact.what == "started"}
        ends = [fact for fact in self.facts if fact.what == "ended"]
        left = running - {fact.detail.partition(" ")[0] for fact in ends}
        return min(self.gone, max((fact.at for fact in ends), default=0.0) if not left else float("inf"))

    @property
    def over(self) -> float:
        """When it ended by itself."""
        ends = [f.at for f in self.facts if f.what in ("published", "happened") and f.detail not in _PASSING]
        return ends[0] if ends else float("inf")


_PASSING = frozenset({"never fits", "image missing", "hangs", "evicted", "node lost", "incomplete"})
"""What does not end a run by itself at once."""
