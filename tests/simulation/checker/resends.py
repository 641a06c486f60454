"""What must follow when somebody asks for the results of a job again."""

from __future__ import annotations

from collections.abc import Iterator

from tests.simulation.history import Arrival, Resend


def contradictions(resends: list[Resend], arrivals: list[Arrival], *, forgotten: float) -> Iterator[str]:
    """A result that was sent again says what it said before, unless somebody has deleted the job meanwhile."""
    for resend in resends:
        for identity, codes in _known(resend, arrivals).items():
            again = {each.code for each in arrivals if each.id == identity and resend.began < each.at < forgotten}
            if again - codes:
                yield (
                    f"promise 2: {resend.name} was reported as {sorted(codes)}, was asked for again at"
                    f" {resend.began:.2f} s, and is then reported as {sorted(again)}"
                )


def unanswered(resends: list[Resend], arrivals: list[Arrival]) -> Iterator[str]:
    """Atlas gets again each result that it had."""
    for resend in resends:
        known = set(_known(resend, arrivals))
        again = {each.id for each in arrivals if each.at > resend.began}
        if known - again:
            yield (
                f"promise 2: {resend.name} was asked for again at {resend.began:.2f} s, and atlas does not get"
                f" {len(known - again)} of {len(known)} results"
            )


def _known(resend: Resend, arrivals: list[Arrival]) -> dict[str, set[int]]:
    """The results that atlas had before, and their codes."""
    known: dict[str, set[int]] = {}
    for each in arrivals:
        if each.at <= resend.began:
            known.setdefault(each.id, set()).add(each.code)
    return known
