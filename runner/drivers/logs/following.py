"""Follows the logs of one job to their end: the same loop for every driver.

read what there is ─▶ mask, line by line ─▶ received
  ▲        └─ an error: try again, for a minute
  └─ a pause, longer while nothing comes
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from runner.errors import Busy, Rejected, Timeout, Unavailable
from runner.observation import Observation
from runner.runtime.backoff import Backoff
from runner.runtime.clock import Clock
from runner.security.masking import LogMasker

Received = Callable[[str, str], None]
"""Takes the name of a container, and what it has printed."""

Find = Callable[[Observation], Observation | None]
"""See Driver.find."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
"""Seconds between two readings: doubled each time while nothing comes."""

FAILING_SECONDS = 60.0
"""How long logs are tried again that cannot be read."""

HELD_SECONDS = 2.0
"""After so many seconds without a line, a line that might have begun a private key is shown."""


class LogSource(Protocol):
    """The logs of one job on one engine. It remembers what it has passed on."""

    def read(self, lines: LogLines) -> bool:
        """Pass on what has been printed since, or what is printed in the next minutes.

        True once the job has ended and everything was passed on. Raises the errors of a driver.
        """


class LogLines:
    """Takes output as it comes, and passes it on masked, in whole lines."""

    def __init__(self, received: Received, clock: Clock) -> None:
        self._received = received
        self._clock = clock
        self._texts: dict[tuple[str, str], _LogText] = {}
        self._last: tuple[str, str] = ("", "")
        self._heard_at = clock.monotonic()
        self.bytes = 0
        """How many have come."""

    def __repr__(self) -> str:
        return f"LogLines({self.bytes} bytes)"

    def write(self, container: str, data: bytes, stream: str = "") -> None:
        """More output of a container; each of its streams, and each run of it, has lines of its own."""
        if not data:
            return
        key = (container, stream)
        if self._last != key and self._last[0] != container:
            self.finish()
        self._last = key
        self.bytes += len(data)
        self._heard_at = self._clock.monotonic()
        self._pass_on(container, self._texts.setdefault(key, _LogText()).feed(data))

    def idle(self) -> None:
        """Pass on the lines that are held, if nothing has come for a while."""
        if self._clock.monotonic() - self._heard_at >= HELD_SECONDS:
            for (container, _), text in self._texts.items():
                self._pass_on(container, text.idle())

    def finish(self) -> None:
        """Nothing more follows of what has been printed up to now: its last line may lack a line feed."""
        for (container, _), text in self._texts.items():
            self._pass_on(container, text.close())
        self._texts.clear()

    def _pass_on(self, container: str, text: str) -> None:
        if text:
            self._received(container, text)


class _LogText:
    """One stream of output: bytes become masked lines."""

    def __init__(self) -> None:
        self._masker = LogMasker()
        self._unfinished = b""

    def feed(self, data: bytes) -> str:
        """The lines that are complete now."""
        *complete, self._unfinished = (self._unfinished + data).split(b"\n")
        return "".join(self._masker.feed(line.decode(errors="replace")) for line in complete)

    def idle(self) -> str:
        return self._masker.idle()

    def close(self) -> str:
        """What is left. A last line without a line feed gets one, so that what follows begins a line."""
        last, self._unfinished = self._unfinished, b""
        text = self._masker.feed(last.decode(errors="replace")) if last else ""
        return text + self._masker.close()


def follow(source: LogSource, received: Received, clock: Clock) -> None:
    """Pass on the job's logs until it has ended and everything was passed on. See Driver.follow_logs."""
    lines = LogLines(received, clock)
    pauses = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
    failing_since: float | None = None
    while True:
        before = lines.bytes
        try:
            if source.read(lines):
                break
            failing_since = None
        except (Unavailable, Timeout, Busy):
            failing_since = clock.monotonic() if failing_since is None else failing_since
            if clock.monotonic() - failing_since >= FAILING_SECONDS:
                lines.finish()
                raise
        lines.idle()
        if lines.bytes != before:
            pauses.reset()
        clock.sleep(pauses.next())
    lines.finish()


def chosen(job: str, containers: Sequence[str], wanted: str) -> Sequence[str]:
    """The containers to follow: all, or the one that is wanted. Raises Rejected if the job has no such container."""
    if wanted and wanted not in containers:
        raise Rejected(f"{job} has no container {wanted!r}; it has {', '.join(containers) or 'none'}")
    return [wanted] if wanted else containers
