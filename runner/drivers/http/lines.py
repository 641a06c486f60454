"""A response that goes on, split into lines while it arrives: libcurl's callbacks for one request.

libcurl measures silence as an average speed, to which a keep-alive of three bytes counts as none. So the time of the
last byte is kept here. libcurl's progress callback, which runs at least each second, compares it with the clock.
"""

from __future__ import annotations

from collections.abc import Callable

from runner.drivers.http.client import Unsettled
from runner.runtime.clock import Clock

MAX_LINE_BYTES = 16 * 1024 * 1024
"""The longest line, and the largest body of an error. An object in etcd has at most a few million bytes."""

_ABORT = 0
"""Fewer bytes than libcurl passed to the callback: it ends the request and closes the connection."""


class LineReceiver:
    """Passes on each line of a response as soon as it is complete. Keeps the body of an error instead.

    `failure` is why it ended the request, None if it did not. An exception cannot pass through libcurl.
    """

    def __init__(self, received: Callable[[bytes], None], *, server: str, silence_seconds: float, clock: Clock) -> None:
        self._received = received
        self._server = server
        self._silence_seconds = silence_seconds
        self._monotonic = clock.monotonic
        self._heard_at = clock.monotonic()
        self._status = 0
        self._pieces: list[bytes] = []
        self._size = 0
        self.failure: BaseException | None = None

    def __repr__(self) -> str:
        return f"LineReceiver({self._server}, status={self._status}, incomplete={self._size} bytes)"

    @property
    def unfinished(self) -> bytes:
        """What has arrived of the present line, or the body of an error."""
        return b"".join(self._pieces)

    def on_header(self, line: bytes) -> None:
        """A line of a response's head. A proxy or a `100 Continue` may precede the response with a head of its own."""
        self._heard_at = self._monotonic()
        if line.startswith(b"HTTP/"):
            self._status = int(line.split()[1])

    def on_data(self, data: bytes) -> int | None:
        """A part of the body."""
        try:
            self._take(data)
        except BaseException as error:
            self.failure = error
            return _ABORT
        self._heard_at = self._monotonic()
        return None

    def on_progress(self, *_: int) -> int:
        """Whether to end the request: not 0 ends it."""
        if self._monotonic() - self._heard_at <= self._silence_seconds:
            return 0
        self.failure = Unsettled(f"{self._server} was silent for {self._silence_seconds:g} s; repeat the request")
        return 1

    def _take(self, data: bytes) -> None:
        if not 200 <= self._status < 300:
            self._keep(data)
            return
        *complete, rest = data.split(b"\n")
        for line in complete:
            self._pieces.append(line)
            whole = self.unfinished
            self._pieces, self._size = [], 0
            self._received(whole)
        self._keep(rest)

    def _keep(self, piece: bytes) -> None:
        if not piece:
            return
        self._size += len(piece)
        if self._size > MAX_LINE_BYTES:
            raise Unsettled(
                f"{self._server} sent a line of more than {MAX_LINE_BYTES >> 20} MiB; find the object that is so large"
            )
        self._pieces.append(piece)
