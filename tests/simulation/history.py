"""What clients asked and were answered, what atlas got, and what truly happened on the clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Fact:
    """Something that truly happened to a run. Nothing of it is from our code."""

    at: float
    engine: str
    place: str
    name: str
    identity: str
    what: str
    """created, held and admitted (by a queue), refused (its pod, by a quota), pod, started, ended, happened, published,
    deleted (by somebody), expired (by its time-to-live), tombstone (a cancel of a name without a job, in a Variable)"""
    detail: str = ""


@dataclass(frozen=True)
class Command:
    """One request of a client, and the answer. `state` is empty where the answer was an error."""

    began: float
    ended: float
    kind: str
    name: str
    state: str
    error: str = ""


@dataclass(frozen=True)
class Resend:
    """The results of a job were asked for again, with success."""

    began: float
    ended: float
    name: str
    place: str


@dataclass(frozen=True)
class Arrival:
    """One body that atlas took."""

    at: float
    path: str
    body: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.body["id"])

    @property
    def run_id(self) -> str:
        return str(self.body["kwargs"]["run_id"])

    @property
    def code(self) -> int:
        status = self.body["kwargs"]["status"]
        return int(status["code"]) if isinstance(status, dict) else int(status)


@dataclass
class History:
    """Everything that the checker may know."""

    now: Callable[[], float]
    facts: list[Fact] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    kills: list[tuple[float, str]] = field(default_factory=list)
    resends: list[Resend] = field(default_factory=list)

    def record(self, engine: str, place: str, name: str, identity: str, what: str, detail: str = "") -> None:
        self.facts.append(Fact(self.now(), engine, place, name, identity, what, detail))

    def of(self, name: str, *what: str) -> Iterator[Fact]:
        """The facts of one name, of these kinds."""
        return (fact for fact in self.facts if fact.name == name and (not what or fact.what in what))

    def described(self, name: str, run_ids: tuple[str, ...]) -> str:
        """The story of one name, in order."""
        lines = [
            (c.ended, f"{c.kind} (sent {c.began:.2f}): {c.state or c.error}") for c in self.commands if c.name == name
        ]
        lines += [(r.ended, f"resend (sent {r.began:.2f}) in {r.place}") for r in self.resends if r.name == name]
        lines += [(f.at, f"  {f.place} {f.identity[:8]} {f.what} {f.detail}") for f in self.of(name)]
        lines += [
            (a.at, f"    atlas: {a.code} for {a.run_id}, id {a.id[:8]}") for a in self.arrivals if a.run_id in run_ids
        ]
        lines += [(at, f"      {who} killed") for at, who in self.kills]
        return "\n".join(f"{at:9.2f} {text}" for at, text in sorted(lines))
