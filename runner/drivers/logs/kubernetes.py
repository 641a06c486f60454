"""The logs of a Job's own containers: their last lines; or all of them, in each pod that the Job makes.

A running container's log is streamed. Once the container has ended, what was missed is read by one request, which also
gives a last line without a line feed. Each line begins with its time, so that a new request continues after the last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial, reduce

from runner.drivers.http.client import Unsettled
from runner.drivers.kubernetes.api import raise_for_status
from runner.drivers.kubernetes.namespace import KubernetesNamespace
from runner.drivers.kubernetes.objects import ContainerStatus, PodObject
from runner.drivers.kubernetes.observation import observation
from runner.drivers.kubernetes.pods.own_containers import log_container
from runner.drivers.kubernetes.pods.versions import latest_of, latest_pod
from runner.drivers.logs.following import LogLines, chosen
from runner.errors import Rejected, Timeout, Unavailable
from runner.observation import Observation
from runner.outcomes import classify
from runner.runtime.clock import Clock, Deadline
from runner.security.masking import KEY_LINES, last_lines

READ_SECONDS = 30.0

STREAM_SECONDS, SILENCE_SECONDS = 600.0, 30.0
"""How long one stream lasts, and how long it may be silent: a broken connection looks like a container that is."""

_TIME = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
"""A time of RFC 3339, with the offset of the node's time zone, which changes where summer time ends."""


def last_log(
    namespaces: Iterable[KubernetesNamespace], name: str, container: str, lines: int, deadline: Deadline
) -> str:
    """The last lines of a container's log. See Driver.logs."""
    for namespace in namespaces:
        if (pod := reduce(latest_pod, namespace.pods(deadline, name), None)) is not None:
            wanted = container or log_container(namespace.job(name, deadline), pod)
            return last_pod_log(namespace, pod.metadata.name, wanted, lines, deadline)
    raise Rejected(f"{name} has no pod: there is no such job, it has not been scheduled, or its pod is gone")


def last_pod_log(namespace: KubernetesNamespace, pod: str, container: str, lines: int, deadline: Deadline) -> str:
    """The last lines of the log of a container in that pod."""
    return last_lines(namespace.log_text(pod, container, lines + KEY_LINES, deadline), lines)


class KubernetesLogSource:
    """See LogSource."""

    def __init__(self, namespace: KubernetesNamespace, seen: Observation, container: str, clock: Clock) -> None:
        job = namespace.job(seen.name, Deadline.after(READ_SECONDS, clock))
        if job is None or job.metadata.uid != seen.identity:
            raise Rejected(f"the job {seen.name} is gone, and its logs with it")
        self._containers = chosen(seen.name, [name for name in (job.init, job.main) if name], container)
        self._namespace = namespace
        self._seen = seen
        self._clock = clock
        self._logs: dict[tuple[str, str], _ContainerPosition] = {}

    def __repr__(self) -> str:
        return f"KubernetesLogSource({self._seen.name!r})"

    def read(self, lines: LogLines) -> bool:
        """See LogSource.read. While a container runs, it reads until the stream ends."""
        deadline = Deadline.after(READ_SECONDS, self._clock)
        job = self._namespace.job(self._seen.name, deadline)
        if job is None or job.metadata.uid != self._seen.identity:
            return True
        pod = latest_of(self._namespace.pods(deadline, self._seen.name), job)
        over = classify(observation(job, pod, self._seen.driver)) is not None
        try:
            goes_on = pod is not None and self._read_pod(pod, lines)
        except Unavailable:
            if over:  # its node is lost, and has the log
                return True
            raise
        return over and not goes_on

    def _read_pod(self, pod: PodObject, lines: LogLines) -> bool:
        """Read the logs of the containers that have started, one after the other. Whether one may print more."""
        for name in self._containers:
            status = pod.container(name)
            if status is None or not status.started:
                return False
            if self._read_container(pod, status, lines):
                return True
        return False

    def _read_container(self, pod: PodObject, status: ContainerStatus, lines: LogLines) -> bool:
        """Read one log. Whether the container may print more."""
        key = (pod.metadata.uid, status.name)
        if key not in self._logs:
            lines.finish()
        position = self._logs.setdefault(key, _ContainerPosition())
        if status.state.running is not None:
            self._stream(pod.metadata.name, status.name, position, lines)
            return True
        if not position.complete:
            deadline = Deadline.after(READ_SECONDS, self._clock)
            body = self._namespace.log_bytes(pod.metadata.name, status.name, position.query, deadline)
            position.pass_all(body or b"", partial(lines.write, status.name))
            position.complete = True
        return False

    def _stream(self, pod: str, container: str, position: _ContainerPosition, lines: LogLines) -> None:
        """Pass on lines as they come. The next reading continues where this one ends, also if it is cut off."""
        deadline, position.skipping = Deadline.after(STREAM_SECONDS, self._clock), True

        def received(line: bytes) -> None:
            lines.write(container, position.new(line + b"\n"))

        try:
            response = self._namespace.stream_log(pod, container, position.query, deadline, received, SILENCE_SECONDS)
        except (Unsettled, Timeout):  # cut off, silent, or it has lasted long enough
            return
        raise_for_status(response, f"get pods/log in namespace {self._namespace.name}")


class _ContainerPosition:
    """How far the log of one container in one pod was read: the time of the last line, and how many had that time."""

    def __init__(self) -> None:
        self.complete = False
        self.skipping = True
        self._time = b""
        self._lines = 0
        self._skipped = 0

    @property
    def query(self) -> dict[str, str]:
        """What to ask for: everything since the last line's time. The API server compares whole seconds."""
        self._skipped = 0
        return {"timestamps": "true", **({"sinceTime": self._time.decode()} if self._time else {})}

    def pass_all(self, body: bytes, write: Callable[[bytes], None]) -> None:
        """Pass on what is new in a complete response."""
        self.skipping = True
        *complete, last = body.split(b"\n")
        for line in complete:
            write(self.new(line + b"\n"))
        write(self.new(last) if last else b"")

    def new(self, line: bytes) -> bytes:
        """The line without its time; nothing if it was passed on before."""
        time, _, text = line.partition(b" ")
        if (moment := _moment(time)) is None:
            return line  # a message of the kubelet
        if self.skipping and self._time:
            last = _moment(self._time)
            if last is None or moment < last:
                return b""
            if moment == last and self._skipped < self._lines:
                self._skipped += 1
                return b""
        self.skipping = False
        self._lines = self._lines + 1 if time == self._time else 1
        self._time = time
        return text


def _moment(time: bytes) -> tuple[float, bytes] | None:
    """A time as a number of seconds and a fraction: Python's times have no nanoseconds. None if it is none."""
    found = _TIME.fullmatch(time)
    if found is None:
        return None
    try:
        return datetime.fromisoformat((found[1] + found[3]).decode()).timestamp(), (found[2] or b"").ljust(9, b"0")
    except ValueError:
        return None
