"""One HTTP/2 connection of the gRPC door: grpclib's protocol with bounds on what a client may make it do.

h2 itself bounds the header table, CONTINUATION frames and the streams open at once. What it leaves to us:

- a client that opens and resets streams, or pings, or changes settings without end (CVE-2023-44487, CVE-2019-9512 and
  their like) has an allowance for whatever is no part of a call, which refills with time and with each call that is
  answered; over it, the connection is ended with ENHANCE_YOUR_CALM;
- a client that says goodbye has its calls answered, and closes the connection itself (RFC 9113, 6.8);
- headers over `MAX_HEADERS` are answered by the call, and over four times as much end the connection, since the state
  of their compression is lost with them (RFC 9113, 10.5.1);
- a frame over the bound ends the connection when its length has come, not its last byte;
- a peer that is gone is found by pings, and by the kernel where it leaves our bytes unacknowledged;
- a GOAWAY that asks for patience is written past h2, which after one of its own would serve nothing any more. A client
  built on h2 is as strict, so it is told only when none of its calls is in hand.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, cast

from grpclib.config import Configuration
from grpclib.protocol import AbstractHandler, EventsProcessor, H2Protocol
from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, TrailersReceived
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from runner.runtime.clock import Clock

log = logging.getLogger("orchestrator.grpc")

MAX_STREAMS = 100
"""Calls at once on one connection."""

MAX_HEADERS = 16 * 1024
"""Bytes of a call's headers, counted as HTTP/2 does (RFC 9113, 6.5.2); a token of atlas's has a few hundred."""

ALLOWANCE, ALLOWANCE_PER_SECOND = 1000.0, 100.0
"""Frames that cost us and bring nothing: at once, and refilled."""

ALLOWANCE_PER_CALL = 8.0
"""Clients that measure their bandwidth ping with each answer, and open their window for the next."""

SLICE = 8192
"""Bytes that are looked at before the allowance is: at most 910 frames, some 30 ms."""

UNREAD_SECONDS = 30
"""For which a peer may leave what we sent unacknowledged, and a closed connection may linger."""

CONFIGURATION = Configuration(
    # Windows bound what a connection can make us hold before anybody asked for it. A message of 4 MiB fits through.
    http2_connection_window_size=1024 * 1024,
    http2_stream_window_size=256 * 1024,
    # A peer that does not answer a ping is gone, whether or not it has a call in hand.
    _keepalive_time=60.0,
    _keepalive_timeout=20.0,
    _keepalive_permit_without_calls=True,
    _http2_max_pings_without_data=0,
    _http2_min_sent_ping_interval_without_data=50.0,
).__for_server__()

_H2 = H2Configuration(
    client_side=False,
    # Every byte is some character here, so that an odd header fails its call, not the connection.
    header_encoding="latin-1",
    # A tenth of a call's time, for headers that go nowhere: the few that are read are checked where they are read.
    validate_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_inbound_headers=False,
    normalize_outbound_headers=False,
)

_OF_A_CALL = (RequestReceived, DataReceived, TrailersReceived, StreamEnded)


class Farewell(Event):
    """The client opens no more streams. h2 would serve none of those that are open, so it is not told."""


class CallsOfConnection(Protocol):
    """What a connection must know of the calls that it carries."""

    answered: int

    def in_hand(self) -> int:
        """Those that are not answered yet."""


class TooManyFrames(Exception):
    """The client's allowance is used up."""


class Session(H2Protocol):
    """A connection. `began` is called with it once it is there, after any handshake, and `ended` when it is lost."""

    def __init__(
        self,
        calls: CallsOfConnection,
        clock: Clock,
        *,
        began: Callable[[Session], None],
        ended: Callable[[Session], None],
    ) -> None:
        super().__init__(cast(AbstractHandler, calls), CONFIGURATION, _H2)
        self._calls = calls
        self._clock = clock
        self._began = began
        self._ended = ended
        self._drained = False
        self._transport: asyncio.Transport | None = None

    def __repr__(self) -> str:
        peer = self._transport.get_extra_info("peername") if self._transport else None
        return f"Session({peer}, calls={self.handler!r})"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say our bounds, and keep to them from the first byte, whether or not the client has heard of them."""
        super().connection_made(transport)
        self._transport = cast(asyncio.Transport, transport)
        _forget_the_dead(self._transport)
        self._h2 = self.connection._connection
        self._h2.decoder.max_header_list_size = 4 * MAX_HEADERS
        # Huffman's code would save 15 bytes of an answer, and cost a twentieth of the call.
        encoder: Any = self._h2.encoder
        encoder.encode = partial(encoder.encode, huffman=False)
        self._h2.update_settings(
            {SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS, SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADERS}
        )
        self._h2._frame_dispatch_table[GoAwayFrame] = lambda _: ([], [Farewell()])
        self.processor = _Events(self.handler, self.connection, self._calls, self._clock)
        self.connection.flush()
        self._began(self)

    def data_received(self, data: bytes) -> None:
        """Feed h2 and act on what it makes of it; end the connection in order where the client breaks the rules."""
        try:
            for start in range(0, len(data), SLICE):
                if self.connection.is_closing():
                    return
                self._act(data[start : start + SLICE])
        except TooManyFrames:
            self._say_goodbye(ErrorCodes.ENHANCE_YOUR_CALM)
            self._end("too many frames that ask for nothing")
        except ProtocolError as error:  # h2 has its GOAWAY ready
            self.connection.flush()
            self._end(f"protocol error: {error}")
        except Exception:
            log.exception("a connection failed for a reason of ours")
            self._end("an error of ours")

    def _act(self, data: bytes) -> None:
        events = self.connection.feed(data)
        self._refuse_large_frames()
        self.connection.flush()
        for event in events:
            self.processor.process(event)
        if not self.connection.is_closing():
            self.connection.flush()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The calls it carried are cancelled."""
        super().connection_lost(exc)
        self._ended(self)

    def drain(self) -> None:
        """No new calls, please; said now where no call is in hand, else by `close`."""
        if not self.connection.is_closing() and not self._calls.in_hand():
            self._say_goodbye(ErrorCodes.NO_ERROR)
            self._drained = True

    def close(self) -> None:
        """End it now, with whatever it carries."""
        if not self.connection.is_closing():
            if not self._drained:
                self._say_goodbye(ErrorCodes.NO_ERROR)
            self._end("the server ends")

    def _refuse_large_frames(self) -> None:
        """h2 waits for the whole of a frame before it looks at its length, which may be said to be 16 MiB."""
        waiting = self._h2.incoming_buffer._data
        if len(waiting) >= 3 and int.from_bytes(waiting[:3], "big") > self._h2.max_inbound_frame_size:
            self._say_goodbye(ErrorCodes.FRAME_SIZE_ERROR)
            self._end("a frame over the bound")

    def _say_goodbye(self, code: ErrorCodes) -> None:
        assert self._transport is not None
        frame = GoAwayFrame(0, last_stream_id=self._h2.highest_inbound_stream_id, error_code=code)
        self._transport.write(frame.serialize())

    def _end(self, reason: str) -> None:
        log.debug("%r is ended: %s", self, reason)
        self.processor.close(reason)
        assert self._transport is not None
        # A client that reads nothing would keep a closed connection's last bytes, and its file, for ever.
        asyncio.get_running_loop().call_later(UNREAD_SECONDS, self._transport.abort)


class _Events(EventsProcessor):
    """grpclib's, with the allowance, and deaf to frames of unknown types (RFC 9113, 5.5)."""

    def __init__(self, handler: AbstractHandler, connection: Any, calls: CallsOfConnection, clock: Clock) -> None:
        super().__init__(handler, connection)
        self._calls = calls
        self._clock = clock
        self._left = ALLOWANCE
        self._counted = clock.monotonic()
        self._answered = 0

    def process(self, event: Event) -> None:
        """One event. Raises TooManyFrames."""
        if isinstance(event, DataReceived) and not event.flow_controlled_length:
            # It would be taken for the end of the message. Where it is, another event says so.
            return None if event.stream_ended else self._count()
        if not isinstance(event, _OF_A_CALL):
            self._count()
        if event.__class__ not in getattr(self, "processors", ()):
            return None
        return super().process(event)

    def _count(self) -> None:
        now, answered = self._clock.monotonic(), self._calls.answered
        earned = (now - self._counted) * ALLOWANCE_PER_SECOND + (answered - self._answered) * ALLOWANCE_PER_CALL
        self._left = min(ALLOWANCE, self._left + earned) - 1
        self._counted, self._answered = now, answered
        if self._left < 0:
            raise TooManyFrames


def _forget_the_dead(transport: asyncio.Transport) -> None:
    """Have the kernel end the connection where the peer takes nothing (TCP_USER_TIMEOUT, tcp(7))."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
