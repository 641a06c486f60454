"""A tracker's round over one driver, without publishing: reconcile, then list; and a view of what its sources show."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from runner.drivers.driver import Driver, Source
from runner.errors import OrchestratorError
from runner.observation import Observation

Key = tuple[str, str, str]
"""Place, name and identity."""


def observed(driver: Driver) -> list[Observation]:
    """What the driver lists after a reconcile."""
    driver.reconcile()
    return list(driver.list())


def listed(driver: Driver, name: str) -> Observation:
    """The one job of that name, after a reconcile. Fails if none or more than one is listed."""
    (found,) = [each for each in observed(driver) if each.name == name]
    return found


class RecordingView:
    """Keeps what the sources of one driver show: the jobs that are not reported, and those that have left.

    An observation that is reported counts as left: sources of all kinds may pass on the change that marks a job.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._jobs: dict[Key, Observation] = {}
        self.gone: list[Observation] = []
        """The last observation of each job that is not shown any more, in the order in which they left."""

    def __repr__(self) -> str:
        return f"RecordingView({len(self._jobs)} jobs, {len(self.gone)} gone)"

    def replace(self, place: str, listed: Iterable[Observation]) -> None:
        """See View.replace."""
        shown = {key(each): each for each in listed}
        assert {each.place for each in shown.values()} <= {place}, f"jobs of another place are listed in {place!r}"
        assert not [each.name for each in shown.values() if each.reported], "a reported job is listed as pending"
        with self._lock:
            for missing in [each for each in self._jobs.values() if each.place == place and key(each) not in shown]:
                self.left(missing)
            for each in shown.values():
                self.update(each)

    def update(self, seen: Observation) -> None:
        """See View.update."""
        if seen.reported:
            self.left(seen)
            return
        with self._lock:
            self._jobs[key(seen)] = seen

    def left(self, seen: Observation) -> None:
        """See View.left."""
        with self._lock:
            if self._jobs.pop(key(seen), None):
                self.gone.append(seen)

    def alive(self) -> None:
        """See View.alive."""

    def of(self, name: str) -> Observation | None:
        """The job of that name that is shown now. Fails if there are two."""
        with self._lock:
            found = [each for each in self._jobs.values() if each.name == name]
        assert len(found) <= 1, f"{name} is shown {len(found)} times"
        return found[0] if found else None


def key(seen: Observation) -> Key:
    """What distinguishes a job from every other of its driver."""
    return seen.place, seen.name, seen.identity


@contextmanager
def following(driver: Driver) -> Iterator[RecordingView]:
    """A view that all sources of a driver keep up to date, as the tracker does it: session after session."""
    view, stop = RecordingView(), threading.Event()
    for source in driver.sources():
        threading.Thread(target=_follow, args=(source, view, stop), name=source.name, daemon=True).start()
    try:
        yield view
    finally:
        stop.set()  # a session of a real cluster may last a minute more; its thread is a daemon


def _follow(source: Source, view: RecordingView, stop: threading.Event) -> None:
    while not stop.is_set():
        with suppress(OrchestratorError):
            source.follow(view)
        stop.wait(source.pause)
