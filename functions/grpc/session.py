"""One HTTP/2 connection of the gRPC server: grpclib's protocol with bounds on what a client may make it do.

h2 itself bounds the header table, CONTINUATION frames and the streams open at once. This module adds:

- An allowance of frames that are no part of a call, against clients that open and reset streams, ping, or change
  settings without end (CVE-2023-44487, CVE-2019-9512 and others). It refills with time and with each call answered.
  Over it, the connection is ended with ENHANCE_YOUR_CALM.
- A client that sends GOAWAY still gets its calls answered, and closes the connection itself (RFC 9113, 6.8).
- Headers over `MAX_HEADERS` fail their call. Over four times as much they end the connection, since the state of their
  compression is lost with them (RFC 9113, 10.5.1).
- A frame over the bound ends the connection when its length has arrived, not its last byte.
- The preface, a frame and a block of headers have `ARRIVING_SECONDS` each. A client that receives nothing of what is
  sent to it for `SENDING_SECONDS` is disconnected.
- A lost peer is detected by pings, and by the kernel if it does not acknowledge bytes.
- The server's own GOAWAY at a drain is written without h2, which would serve nothing after sending one. A client built
  on h2 is as strict, so it gets one only while none of its calls is in flight.
"""

from __future__ import annotations

import asyncio
import logging
import math
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
"""Bytes of a call's headers, counted as HTTP/2 does (RFC 9113, 6.5.2); atlas's tokens have a few hundred."""

ALLOWANCE, ALLOWANCE_PER_SECOND = 1000.0, 100.0
"""Frames that are no part of a call: at once, and refilled."""

ALLOWANCE_PER_CALL = 8.0
"""Added for each call, since some clients ping with each answer, and enlarge their window for the next one."""

SLICE = 8192
"""Bytes that are processed before the allowance is checked: at most 910 frames, some 30 ms."""

ARRIVING_SECONDS = SENDING_SECONDS = 10.0

UNREAD_SECONDS = 30
"""For a peer to acknowledge what was sent to it, and for a closed connection to send its last bytes."""

CONFIGURATION = Configuration(
    # Windows bound what a connection may send before it is read. A message of 4 MiB is read piece by piece.
    http2_connection_window_size=1024 * 1024,
    http2_stream_window_size=256 * 1024,
    # A peer that does not answer a ping is lost, with or without a call in flight.
    _keepalive_time=60.0,
    _keepalive_timeout=20.0,
    _keepalive_permit_without_calls=True,
    _http2_max_pings_without_data=0,
    _http2_min_sent_ping_interval_without_data=50.0,
).__for_server__()

_H2 = H2Configuration(
    client_side=False,
    # In latin-1 every byte is a character, so that an undecodable header fails its call, not the connection.
    header_encoding="latin-1",
    # Validation takes a tenth of a call's time. The few headers that are read are checked where they are read.
    validate_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_inbound_headers=False,
    normalize_outbound_headers=False,
)

_OF_A_CALL = (RequestReceived, DataReceived, TrailersReceived, StreamEnded)


class GoAway(Event):
    """The client has sent GOAWAY: it opens no more streams. Not passed to h2, which would stop serving open ones."""


class CallsOfConnection(Protocol):
    """What a session reads of the calls of its connection."""

    answered: int

    def in_flight(self) -> int:
        """Unary calls that are not answered yet."""

    def opened(self, session: Session) -> None:
        """The session is open."""

    def log_refusal(self, path: str, status: int, code: str, request_id: str, arrived: float) -> None:
        """Log that a call or the whole connection was refused."""


class ConnectionRefused(Exception):
    """The client breaks a rule that ends its connection, with this error code of HTTP/2."""

    def __init__(self, code: ErrorCodes, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Session(H2Protocol):
    """A connection. `began` is called with it once it is open, after any handshake, and `ended` when it is lost."""

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
        self.idle: Callable[[], bool] = lambda: not calls.in_flight()
        self._clock = clock
        self._began = began
        self._ended = ended
        self._drained = False
        self._slow_since = clock.monotonic()
        """Since when the preface, a frame or a block of headers has been arriving; infinite if none is."""
        self._unsent, self._sent = 0, clock.monotonic()
        self.heard = clock.monotonic()
        """When the client last sent something."""
        self._transport: asyncio.Transport | None = None

    def __repr__(self) -> str:
        return f"Session({self.peer}, calls={self.handler!r})"

    @property
    def peer(self) -> str:
        """The client's address and port."""
        address = self._transport.get_extra_info("peername") if self._transport else None
        return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the bounds as settings, and enforce them from the first byte on."""
        super().connection_made(transport)
        self._transport = cast(asyncio.Transport, transport)
        _limit_unacknowledged(self._transport)
        self._h2 = self.connection._connection
        self._h2.decoder.max_header_list_size = 4 * MAX_HEADERS
        # Huffman coding would save 15 bytes of an answer, and cost a twentieth of the call's time.
        encoder: Any = self._h2.encoder
        encoder.encode = partial(encoder.encode, huffman=False)
        self._h2.update_settings(
            {SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS, SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADERS}
        )
        self._h2._frame_dispatch_table[GoAwayFrame] = lambda _: ([], [GoAway()])
        self.processor = _Events(self.handler, self.connection, self._calls, self._clock)
        self.connection.flush()
        self._calls.opened(self)
        self._began(self)

    def data_received(self, data: bytes) -> None:
        """Feed h2 and process its events; end the connection with GOAWAY where the client breaks the rules."""
        try:
            for start in range(0, len(data), SLICE):
                if self.connection.is_closing():
                    return
                self._act(data[start : start + SLICE])
        except ConnectionRefused as refusal:
            self.refuse(refusal.code, str(refusal))
        except ProtocolError as error:  # h2 has its GOAWAY ready
            self.connection.flush()
            self._log_and_end(int(error.error_code), f"protocol error: {error}")
        except Exception:
            log.exception("a connection failed with an internal error")
            self._end("internal error")

    def _act(self, data: bytes) -> None:
        self.heard = self._clock.monotonic()
        events = self.connection.feed(data)
        self._refuse_large_frames()
        self._follow_arrival(events)
        self.connection.flush()
        for event in events:
            self.processor.process(event)
        if not self.connection.is_closing():
            self.connection.flush()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Cancel the connection's calls."""
        super().connection_lost(exc)
        self._ended(self)

    def drain(self) -> None:
        """Ask the client for no new calls: by GOAWAY now where no call is in flight, else in `close`."""
        if not self.connection.is_closing() and not self._calls.in_flight():
            self._send_goaway(ErrorCodes.NO_ERROR)
            self._drained = True

    def close(self) -> None:
        """Close the connection now; the calls that are still in flight are cancelled."""
        if not self.connection.is_closing():
            if not self._drained:
                self._send_goaway(ErrorCodes.NO_ERROR)
            self._end("the server is stopping")

    def _refuse_large_frames(self) -> None:
        """h2 checks a frame's length, up to 16 MiB, only after the whole frame has arrived."""
        waiting = self._h2.incoming_buffer._data
        if len(waiting) >= 3 and int.from_bytes(waiting[:3], "big") > self._h2.max_inbound_frame_size:
            raise ConnectionRefused(ErrorCodes.FRAME_SIZE_ERROR, "a frame over the bound")

    def _follow_arrival(self, events: list[Event]) -> None:
        """Note since when a part of a frame, or of a block of headers, has been waiting for its rest."""
        arriving = self._h2.incoming_buffer
        if not arriving._data and not arriving._headers_buffer and not arriving._preamble_len:
            self._slow_since = math.inf
        elif events or self._slow_since == math.inf:
            self._slow_since = self.heard

    def end_slow(self) -> None:
        """End the connection of a client that sends or receives too slowly. The server calls this every second."""
        if self._transport is None or self._transport.is_closing():
            return
        now, unsent = self._clock.monotonic(), self._transport.get_write_buffer_size()
        if not unsent or unsent < self._unsent:
            self._sent = now
        self._unsent = unsent
        if now - self._sent > SENDING_SECONDS:
            self.refuse(ErrorCodes.ENHANCE_YOUR_CALM, "the client does not receive what is sent to it")
            self._transport.abort()
        elif now - self._slow_since > ARRIVING_SECONDS:
            self.refuse(ErrorCodes.ENHANCE_YOUR_CALM, "a frame did not arrive in time")

    def refuse(self, code: ErrorCodes, reason: str) -> None:
        """End the connection because of what its client does."""
        if not self.connection.is_closing():
            self._send_goaway(code)
            self._log_and_end(code, reason)

    def _log_and_end(self, code: int, reason: str) -> None:
        self._calls.log_refusal("", code, ErrorCodes(code).name.lower(), "", self.heard)
        self._end(reason)

    def _send_goaway(self, code: ErrorCodes) -> None:
        assert self._transport is not None
        frame = GoAwayFrame(0, last_stream_id=self._h2.highest_inbound_stream_id, error_code=code)
        self._transport.write(frame.serialize())

    def _end(self, reason: str) -> None:
        log.debug("%r is ended: %s", self, reason)
        self.processor.close(reason)
        assert self._transport is not None
        # Without this, a client that reads nothing would keep the socket open for ever, for its unsent bytes.
        asyncio.get_running_loop().call_later(UNREAD_SECONDS, self._transport.abort)


class _Events(EventsProcessor):
    """grpclib's event processor with the allowance. Frames of unknown types are ignored (RFC 9113, 5.5)."""

    def __init__(self, handler: AbstractHandler, connection: Any, calls: CallsOfConnection, clock: Clock) -> None:
        super().__init__(handler, connection)
        self._calls = calls
        self._clock = clock
        self._left = ALLOWANCE
        self._counted = clock.monotonic()
        self._answered = 0

    def process(self, event: Event) -> None:
        """One event. Raises ConnectionRefused."""
        if isinstance(event, DataReceived) and not event.flow_controlled_length:
            # grpclib treats empty data as the end of the message. The real end has an event of its own.
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
            raise ConnectionRefused(ErrorCodes.ENHANCE_YOUR_CALM, "too many frames that are no part of a call")


def _limit_unacknowledged(transport: asyncio.Transport) -> None:
    """Have the kernel end the connection where the peer acknowledges nothing (TCP_USER_TIMEOUT, tcp(7))."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
