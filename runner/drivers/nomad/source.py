"""Follows the jobs of one namespace by Nomad's event stream; if that is refused, by listing them.

    open the stream ─▶ first line ─▶ list everything ─▶ each event: read its job, if it may have ended
                 └─▶ no line: the stream is refused; list every `interval` seconds, and try it again later

The stream is opened before the listing, since Nomad skips events silently: what a listing shows is enough, and an event
only hastens. Nomad refuses silently as well: a token without read-job gets a stream without a line.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from runner.drivers.driver import View
from runner.drivers.http.client import Unsettled
from runner.drivers.nomad.allocations.waiting import refusal, shortage
from runner.drivers.nomad.listing import LIST_SECONDS, READ_SECONDS, Cache, NamespaceReader, Reading
from runner.drivers.nomad.namespace import Namespace
from runner.drivers.nomad.objects import Allocation, Evaluation, JobStub, StreamEvent, StreamLine
from runner.drivers.nomad.variable import VariableStub
from runner.errors import Rejected, Timeout
from runner.observation import Observation
from runner.runtime.clock import Clock, Deadline

log = logging.getLogger("orchestrator.nomad")

RESYNC_SECONDS = 45.0
"""How long a session lasts; each begins with a complete listing. Nomad sends an empty line every 30 s."""

OPEN_SECONDS = 2.0
"""A stream without a line after so many seconds is refused. An accepted one begins with an empty line."""

SILENCE_SECONDS = 35.0

REFUSED_SECONDS = 60.0
"""How long jobs are followed by listings before a refused stream is tried again."""

_DRIVER = "nomad"


class PendingJobs:
    """The jobs of one namespace that the sources have shown to the view, with their last observation.

    Several namespaces have the tombstone of one cancellation. Only that in the first of them is shown.
    """

    def __init__(self, namespace: Namespace, cache: Cache, clock: Clock, *, earlier: Sequence[Namespace] = ()) -> None:
        self._namespace = namespace
        self._cache = cache
        self._earlier = earlier
        self._shown: dict[str, Observation] = {}
        self._listed_index = 0
        self.clock = clock

    def __repr__(self) -> str:
        return f"PendingJobs({self._namespace.name}, {len(self._shown)})"

    def get(self, name: str) -> Observation | None:
        """The last observation of the job; None if it is not pending."""
        return self._shown.get(name)

    def list_all(self, view: View) -> None:
        """Replace everything by a complete listing. The first one shows each job as soon as it is read."""
        reader = self._reader(LIST_SECONDS)
        first = not self._shown
        listed: dict[str, Observation] = {}
        for seen in reader.observations():
            if self._duplicate(seen):
                continue
            listed[seen.name] = self._explained(seen)
            if first:
                view.update(listed[seen.name])
        self._shown, self._listed_index = listed, reader.index
        view.replace(self._namespace.name, listed.values())

    def read(self, view: View, name: str) -> Reading:
        """Read one job and show it."""
        reading = self._reader(READ_SECONDS).one(name)
        if reading.seen is None or not self._duplicate(reading.seen):
            self.show(view, name, reading.seen)
        return reading

    def is_new(self, job: JobStub) -> bool:
        """Whether the event of a registration is later than the last listing, and nothing has happened to the job.

        A stream begins with the events that Nomad has kept. The jobs of old ones may be reported or removed by now.
        """
        return job.fresh and 0 < self._listed_index < job.create_index

    def registered(self, view: View, job: JobStub) -> Reading:
        """Show a new job as the event of its registration does, without a request."""
        reading = self._reader(READ_SECONDS).registered(job)
        self.show(view, job.id, reading.seen)
        return reading

    def show(self, view: View, name: str, seen: Observation | None) -> None:
        """Pass the job to the view; if it is reported, removed, or another one of that name, as one that has left."""
        last = self._shown.get(name)
        if last is not None and (seen is None or seen.reported or seen.identity != last.identity):
            self._shown.pop(name, None)
            view.left(last)
        if seen is not None and not (seen.reported or seen.incomplete):
            self._shown[name] = seen = self._explained(seen)
            view.update(seen)

    def variable_changed(self, view: View, stub: VariableStub) -> None:
        """Show the job after its Variable was written. One that is open has a job, which the events show."""
        name, deadline = stub.name, Deadline.after(READ_SECONDS, self.clock)
        if not stub.changed and name in self._shown:  # the first write, which a listing does not read either
            return
        variable = self._cache.read(self._namespace, name, 0, deadline)
        if variable is not None and not variable.awaits_submit and (not variable.reported or name in self._shown):
            self.read(view, name)

    def _reader(self, seconds: float) -> NamespaceReader:
        deadline = Deadline.after(seconds, self.clock)
        return NamespaceReader(_DRIVER, self._namespace, self._cache, deadline, pending_only=True)

    def _explained(self, seen: Observation) -> Observation:
        """The observation with the reason of its wait, which only an event has shown."""
        last = self._shown.get(seen.name)
        if last is None or seen.phase != "waiting" or last.identity != seen.identity:
            return seen
        if seen.scheduled or _refused(seen):  # on a node, what kept it from one is over
            return seen
        return msgspec.structs.replace(seen, **refusal(_refused(last)))

    def _duplicate(self, seen: Observation) -> bool:
        """Whether it is a tombstone that an earlier namespace has as well."""
        if not seen.cancelled or seen.report is not None or seen.name in self._shown:
            return False
        deadline = Deadline.after(READ_SECONDS, self.clock)
        others = (each.variable(seen.name, deadline) for each in self._earlier)
        return any(variable is not None and variable.cancelled is not None for variable in others)


class JobSource:
    """See Source."""

    def __init__(self, namespace: Namespace, pending: PendingJobs, interval: float) -> None:
        self.name = f"{_DRIVER}/{namespace.name} jobs"
        self._namespace = namespace
        self._pending = pending
        self._clock = pending.clock
        self._interval = interval
        self._accepted = False
        self._refused_until: float | None = None
        self.pause = 0.0

    def __repr__(self) -> str:
        return f"JobSource({self.name}, {'listing' if self._refused_until else 'streaming'})"

    def follow(self, view: View) -> None:
        """See Source.follow."""
        if self._refused_until is None or self._clock.monotonic() >= self._refused_until:
            refused_because = "" if self._accepted else self._stream_refusal()
            if not refused_because:
                self._stream(view)
                return
            if self._refused_until is None:
                log.warning("%s: %s; jobs are listed every %g s instead", self.name, refused_because, self._interval)
            self._refused_until, self.pause = self._clock.monotonic() + REFUSED_SECONDS, self._interval
        self._pending.list_all(view)

    def _stream_refusal(self) -> str:
        """Why Nomad refuses the stream; empty if it does not. Raises what any request raises if it cannot be asked."""
        silent = f"the event stream is refused: no line within {OPEN_SECONDS:g} s; grant read-job as in deploy/nomad"

        def received(_line: bytes) -> None:
            raise _Accepted

        try:
            self._namespace.events(Deadline.after(OPEN_SECONDS, self._clock), received, OPEN_SECONDS)
        except _Accepted:
            return ""
        except (Timeout, Unsettled):
            return silent
        except Rejected as error:
            return error.detail
        return silent

    def _stream(self, view: View) -> None:
        session = _StreamSession(self._pending, view)
        deadline = Deadline.after(RESYNC_SECONDS, self._clock)
        try:
            self._namespace.events(deadline, session.received, SILENCE_SECONDS)
        except (Timeout, Unsettled):
            if not session.listed or deadline.left > 0:  # else it is the session's own end
                self._accepted = False
                raise
        self._accepted = session.listed
        if not session.listed:
            raise Unsettled(f"{self.name}: the event stream ended without a line")
        if self._refused_until is not None:
            log.warning("%s: the event stream is accepted again", self.name)
        self._refused_until, self.pause = None, 0.0


class _Accepted(Exception):
    """A stream has sent its first line."""


class _StreamSession:
    """One session of a stream: which events call for a reading."""

    def __init__(self, pending: PendingJobs, view: View) -> None:
        self._pending = pending
        self._view = view
        self._readings: dict[str, Reading] = {}
        self._ends: dict[str, tuple[str, ...]] = {}
        self.listed = False

    def received(self, line: bytes) -> None:
        """One line of the stream."""
        if not self.listed:
            self._pending.list_all(self._view)
            self.listed = True
        try:
            events = msgspec.json.decode(line, type=StreamLine).events if line.strip() else None
        except msgspec.MsgspecError:
            events = None  # nothing that can be read: the next listing shows what it was about
        if not events:
            self._view.alive()
        for name in dict.fromkeys(self._to_read(events or ())):
            self._readings[name] = self._pending.read(self._view, name)

    def _to_read(self, events: Iterable[StreamEvent]) -> Iterator[str]:
        for event in events:
            payload = event.payload
            if payload.job and payload.job.fingerprint and self._job_changed(payload.job):
                if self._pending.is_new(payload.job):
                    self._readings[payload.job.id] = self._pending.registered(self._view, payload.job)
                else:
                    yield payload.job.id
            elif payload.allocation and self._allocation_changed(payload.allocation):
                yield payload.allocation.job_id
            elif payload.evaluation:
                self._evaluated(payload.evaluation)

    def _job_changed(self, job: JobStub) -> bool:
        """Whether the job is new, was stopped or has ended, and no reading has shown that yet."""
        reading, seen = self._readings.get(job.id), self._pending.get(job.id)
        if reading is not None and job.modify_index <= reading.job_index:
            return False
        return seen is None or job.stop or (job.ended and not _over(seen))

    def _allocation_changed(self, allocation: Allocation) -> bool:
        """Whether a pending job may have ended. Its start is shown without a reading."""
        name = allocation.job_id
        reading, seen = self._readings.get(name), self._pending.get(name)
        if seen is None or (reading is not None and allocation.modify_index <= reading.allocation_index):
            return False
        if _over(seen) and not seen.lingers:
            return False
        if allocation.client_status == "running" and seen.phase == "waiting":
            self._pending.show(self._view, name, msgspec.structs.replace(seen, phase="running", **refusal("")))
        new = allocation.ends != self._ends.get(allocation.id, ())
        self._ends[allocation.id] = allocation.ends
        return new

    def _evaluated(self, evaluation: Evaluation) -> None:
        """Show why the scheduler found no node for a waiting job."""
        seen, reason = self._pending.get(evaluation.job_id), shortage([evaluation])
        waits = seen is not None and seen.phase == "waiting" and not seen.scheduled
        if seen is not None and waits and reason not in ("", _refused(seen)):
            self._pending.show(self._view, seen.name, msgspec.structs.replace(seen, **refusal(reason)))


def _refused(seen: Observation) -> str:
    """Why it gets no allocation; empty if nothing has said so."""
    return seen.not_admitted or seen.unschedulable


def _over(seen: Observation) -> bool:
    return seen.phase in ("succeeded", "failed", "gone")
