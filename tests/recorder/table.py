"""The recorder's table: requests, jobs, ends and results, counted against each other. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from tests.recorder.clusters import RecordedJob
from tests.recorder.deliveries import Delivery


class Asked(msgspec.Struct, frozen=True):
    """One request, its answer, and the results that it may lead to."""

    run_id: str
    status: int = 0
    """Of the last answer; 0 if there was none."""
    name: str = ""
    """The job's name, as the answer says; for a request that was not accepted, the answer."""
    codes: tuple[int, ...] = ()
    """The codes that its result may have. None: no result is expected."""
    optional: bool = False
    """It may also have no result."""

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300


class Table(msgspec.Struct, frozen=True):
    """The counts. `problems` names up to LISTED runs of each kind of error."""

    asked: int = 0
    answered: int = 0
    jobs: int = 0
    ends: int = 0
    running: int = 0
    results: int = 0
    missing: int = 0
    doubled: int = 0
    two_ids: int = 0
    wrong_code: int = 0
    unexpected: int = 0
    problems: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        """Every request was accepted, and nothing is missing or wrong. A result may come again under its id."""
        wrong = self.missing + self.two_ids + self.wrong_code + self.unexpected + self.running
        return bool(self.asked) and self.answered == self.asked and not wrong

    @property
    def doubled_share(self) -> float:
        """Results that were accepted again under their id, as a share of all."""
        return self.doubled / self.results if self.results else 0.0

    def __str__(self) -> str:
        return rendered({"": self})


LISTED = 5

_COLUMNS = {
    "asked": "asked",
    "answered": "2xx",
    "jobs": "jobs",
    "ends": "ends",
    "running": "running",
    "results": "results",
    "missing": "missing",
    "doubled": "same id",
    "two_ids": "two ids",
    "wrong_code": "wrong code",
    "unexpected": "unexpected",
}


def table(asked: Sequence[Asked], jobs: Iterable[RecordedJob], deliveries: Iterable[Delivery]) -> Table:
    """Count everything. A run's result is the first one that atlas accepted; later ones are doubled."""
    accepted: dict[str, list[Delivery]] = defaultdict(list)
    unreadable = []
    for each in deliveries:
        if each.unreadable:
            unreadable.append(each.unreadable)
        elif each.accepted:
            accepted[each.run_id].append(each)
    known = {each.run_id: each for each in asked}
    made = {(job.engine, job.place, job.identity): job for job in jobs}.values()
    missing = [each for each in asked if _missing(each, accepted)]
    two_ids = [run for run, results in accepted.items() if len({each.id for each in results}) > 1]
    wrong = [result for run, results in accepted.items() for result in _wrong(known.get(run), results)]
    strangers = [result for run, results in accepted.items() for result in _unexpected(known.get(run), results)]
    return Table(
        asked=len(asked),
        answered=sum(each.accepted for each in asked),
        jobs=len(made),
        ends=sum(bool(job.ended or job.exits) and not job.running for job in made),
        running=sum(job.running > 0 for job in made),
        results=sum(map(len, accepted.values())),
        missing=len(missing),
        doubled=sum(count - 1 for results in accepted.values() for count in _by_id(results).values()),
        two_ids=len(two_ids),
        wrong_code=len(wrong),
        unexpected=len(strangers) + len(unreadable),
        problems=(
            *_first(
                "not accepted", (f"{each.run_id}: {each.status} {each.name}" for each in asked if not each.accepted)
            ),
            *_first("missing", (each.run_id for each in missing)),
            *_first("two ids", two_ids),
            *_first("wrong code", (f"{each.run_id}: {each.code} {each.sentence!r}" for each in wrong)),
            *_first("unexpected", (f"{each.run_id}: {each.code} {each.sentence!r}" for each in strangers)),
            *_first("unreadable", unreadable),
            *_first("running", (job.name for job in made if job.running)),
        ),
    )


def _missing(asked: Asked, accepted: dict[str, list[Delivery]]) -> bool:
    return asked.accepted and bool(asked.codes) and not asked.optional and asked.run_id not in accepted


def _wrong(asked: Asked | None, results: list[Delivery]) -> list[Delivery]:
    if asked is None or not asked.codes:
        return []
    return [each for each in results if each.code not in asked.codes]


def _unexpected(asked: Asked | None, results: list[Delivery]) -> list[Delivery]:
    """Results of runs that nobody asked for, or that must have none."""
    return results if asked is None or not asked.codes else []


def _by_id(results: list[Delivery]) -> Counter[str]:
    return Counter(each.id for each in results)


def _first(kind: str, texts: Iterable[str]) -> list[str]:
    found = list(texts)
    more = [f"{kind}: {len(found) - LISTED} more"] if len(found) > LISTED else []
    return [f"{kind}: {text}" for text in found[:LISTED]] + more


def rendered(tables: dict[str, Table]) -> str:
    """The tables as lines of text, one for each scenario, with the problems below."""
    width = max([len("scenario"), *map(len, tables)])
    lines = [f"{'scenario':<{width}}  " + "  ".join(_COLUMNS.values())]
    for name, each in tables.items():
        cells = (f"{getattr(each, field):>{len(title)}}" for field, title in _COLUMNS.items())
        lines.append(f"{name:<{width}}  " + "  ".join(cells))
    problems = [f"  {name + ': ' if name else ''}{text}" for name, each in tables.items() for text in each.problems]
    return "\n".join([*lines, *problems])
