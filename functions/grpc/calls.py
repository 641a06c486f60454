"""Calls: from a stream's headers to its trailers.

A unary call is bounded in time from its first header to its last trailer. Its message is bounded in size before it is
read. Its answer is one write. Health and reflection are grpclib services, served by grpclib's Stream, with a bound on
messages as well.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from google.protobuf.message import DecodeError
from grpclib.const import Handler, Status
from grpclib.encoding.proto import ProtoCodec
from grpclib.events import _DispatchServerEvents
from grpclib.exceptions import GRPCError
from grpclib.protocol import AbstractHandler, Stream
from grpclib.server import Stream as ServiceStream
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hpack import NeverIndexedHeaderTuple

from functions.byte_budget import ByteBudget
from functions.function import DEADLINE_SECONDS
from functions.grpc.arrival import MAX_ARRIVING, PREFIX, ArrivingMessage, exactly, size_of_message
from functions.grpc.errors import Headers, status_of, trailers
from functions.grpc.head import CONTENT_TYPE, CallRefused, Head, header_bytes, read_head
from functions.grpc.session import MAX_HEADERS, Session
from functions.refusals import RefusalLog
from functions.request_metrics import RequestMetrics
from runner.errors import Internal, Malformed, OrchestratorError, Timeout, TooLarge, Unavailable
from runner.payloads import MAX_BODY
from runner.runtime.clock import Clock
from runner.runtime.metrics.labels import ACCEPTED

log = logging.getLogger("orchestrator.grpc")

ANSWERING_SECONDS = 3.0
"""For a client to receive the last bytes of its answer."""

Receive = Callable[[], Awaitable[bytes]]
Rpc = Callable[[Head, float, Receive], Awaitable[bytes]]
"""A unary call: from the head, the deadline and the message's receiver to the answer. Raises OrchestratorError."""


class Service(msgspec.Struct):
    """The state that all connections of a process share."""

    rpcs: Mapping[str, Rpc]
    others: Mapping[str, Handler]
    clock: Clock
    refusals: RefusalLog
    metrics: RequestMetrics
    request_types: Mapping[str, str]
    """The request type of each call's path."""
    draining: bool = False
    arriving: ByteBudget = msgspec.field(default_factory=lambda: ByteBudget(MAX_ARRIVING))
    calls: set[asyncio.Task[None]] = msgspec.field(default_factory=set)
    """The unary calls in flight, which a drain waits for."""


class Calls(AbstractHandler):
    """The calls of one connection."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._in_flight = 0
        self.answered = 0
        """Unary calls that were answered, with success or an error."""
        self._tasks: dict[Stream, asyncio.Task[None]] = {}
        self._session: Session | None = None
        self._receiving: set[Stream] = set()
        self._too_slow = False

    def __repr__(self) -> str:
        return str(len(self._tasks))

    def in_flight(self) -> int:
        """Unary calls that are not answered yet."""
        return self._in_flight

    def opened(self, session: Session) -> None:
        """The session is open."""
        self._session = session

    def log_refusal(self, path: str, status: int, code: str, request_id: str, arrived: float) -> None:
        """Log that a call, or the whole connection, was refused."""
        peer = self._session.peer if self._session else ""
        self._service.refusals.write(
            request_id=request_id, path=path, status=status, code=code, arrived=arrived, peer=peer
        )

    def _count(self, path: str, code: str, arrived: float) -> None:
        service = self._service
        service.metrics.answered(service.request_types.get(path, ""), code, service.clock.monotonic() - arrived)

    def accept(self, stream: Stream, headers: Any, release_stream: Callable[[], Any]) -> None:
        """A new stream."""
        task = asyncio.get_running_loop().create_task(self._serve(stream, headers, release_stream))
        self._tasks[stream] = task

    def cancel(self, stream: Stream) -> None:
        """The client has reset the stream."""
        if task := self._tasks.get(stream):
            task.cancel()

    def close(self) -> None:
        """The connection is lost."""
        for task in self._tasks.values():
            task.cancel()

    async def _serve(self, stream: Stream, headers: Headers, release: Callable[[], Any]) -> None:
        now = self._service.clock.monotonic()
        try:
            head = read_head(headers, now)
            if rpc := self._service.rpcs.get(head.path):
                await self._answer(stream, head, rpc, headers)
            elif other := self._service.others.get(head.path):
                self._too_slow |= not await _serve_other(stream, head, other, now)
            else:
                raise CallRefused(200, Status.UNIMPLEMENTED, "Method not found")
        except CallRefused as refusal:
            await _end(stream, refusal.headers)
            named = dict(headers)
            code = refusal.status.name.lower()
            self.log_refusal(named.get(":path", ""), refusal.status.value, code, named.get("x-request-id", ""), now)
            self._count(named.get(":path", ""), code, now)
        except ProtocolError:  # the client has closed the stream, so no answer can be sent
            pass
        except Exception:
            log.exception("a call failed with an internal error")
        finally:
            del self._tasks[stream]
            release()
            if self._too_slow and not self._tasks and self._session:
                self._session.refuse(ErrorCodes.ENHANCE_YOUR_CALM, "a call was too slow")

    async def _answer(self, stream: Stream, head: Head, rpc: Rpc, headers: Headers) -> None:
        task = asyncio.current_task()
        assert task is not None
        calls, arrived = self._service.calls, self._service.clock.monotonic()
        calls.add(task)
        self._in_flight += 1
        try:
            async with asyncio.timeout(DEADLINE_SECONDS + ANSWERING_SECONDS):
                try:
                    message = await self._carry_out(stream, head, rpc, headers)
                except OrchestratorError as error:
                    first = [(":status", "200"), ("content-type", CONTENT_TYPE), ("x-request-id", head.request_id)]
                    await _end(stream, first + trailers(error, head.request_id))
                    status = status_of(error).value
                    self.log_refusal(head.path, status, error.code, head.request_id, arrived)
                    self._count(head.path, error.code, arrived)
                else:
                    await _succeed(stream, head.request_id, message)
                    self._count(head.path, ACCEPTED, arrived)
            self.answered += 1
        except TimeoutError:
            log.info(
                "a client did not receive its answer within %.0f s; its stream is reset",
                DEADLINE_SECONDS + ANSWERING_SECONDS,
            )
            self._too_slow = True
            if stream.closable:
                stream.reset_nowait()
        finally:
            self._in_flight -= 1
            calls.discard(task)

    async def _carry_out(self, stream: Stream, head: Head, rpc: Rpc, headers: Headers) -> bytes:
        """The answer's bytes. Raises OrchestratorError or CallRefused, nothing else."""
        now = self._service.clock.monotonic()
        deadline = min(head.deadline or now + DEADLINE_SECONDS, now + DEADLINE_SECONDS)
        try:
            if self._service.draining:
                raise Unavailable("this server is stopping; repeat the call on a new connection")
            if deadline <= now:
                raise Timeout(
                    "the call's deadline had passed when it arrived, so nothing was done; repeat it with a longer one"
                )
            if header_bytes(headers) > MAX_HEADERS:
                raise TooLarge(
                    f"the headers have {header_bytes(headers)} bytes; {MAX_HEADERS} are accepted; send fewer"
                )
            async with asyncio.timeout(deadline - now):
                return await rpc(head, deadline, lambda: self._receive(stream))
        except TimeoutError:
            self._too_slow |= stream in self._receiving
            raise Timeout("there was no answer within the deadline; repeat the call") from None
        except (OrchestratorError, CallRefused):
            raise
        except Exception:
            log.exception("a call failed with an internal error", extra={"request_id": head.request_id})
            raise Internal(f"internal error; it is logged under request id {head.request_id}") from None
        finally:
            self._receiving.discard(stream)

    async def _receive(self, stream: Stream) -> bytes:
        """The one message of a unary call, complete. Raises TooLarge before the message is read, Malformed, Busy."""
        self._receiving.add(stream)
        size = await size_of_message(stream, MAX_BODY)
        if size is None:
            raise Malformed("the call ended without a message; send one message")
        message = await ArrivingMessage(stream, size, self._service.arriving).receive()
        self._receiving.discard(stream)
        return message


async def _succeed(stream: Stream, request_id: str, message: bytes) -> None:
    # Each id is new: indexing it would evict reusable headers from the compression table.
    named = NeverIndexedHeaderTuple("x-request-id", request_id)
    headers: list[Any] = [(":status", "200"), ("content-type", CONTENT_TYPE), named]
    data = PREFIX.pack(0, len(message)) + message
    h2, number = stream._h2_connection, stream.id
    assert number is not None
    if number not in h2.streams or not stream.closable:
        return
    if not stream.connection.write_ready.is_set() or h2.local_flow_control_window(number) < len(data):
        await stream.send_headers(headers)
        await stream.send_data(data)
        await stream.send_headers([("grpc-status", "0")], end_stream=True)
        return
    h2.send_headers(number, headers)
    h2.send_data(number, data)
    h2.send_headers(number, [("grpc-status", "0")], end_stream=True)
    stream.connection.flush()
    stream.connection.headers_send_process()


async def _end(stream: Stream, headers: Headers) -> None:
    """Send the trailers alone, and reset the stream where the client is still sending."""
    if not stream.closable:
        return
    await stream.send_headers(headers, end_stream=True)
    if stream.closable:
        stream.reset_nowait()


async def _serve_other(stream: Stream, head: Head, other: Handler, now: float) -> bool:
    """Health and reflection. False if the client was too slow."""
    longest = None if other.cardinality.server_streaming else DEADLINE_SECONDS
    try:
        async with asyncio.timeout(longest if head.deadline is None else head.deadline - now):
            async with _BoundedStream(
                stream,
                head.path,
                other.cardinality,
                other.request_type,
                other.reply_type,
                codec=_CODEC,
                status_details_codec=None,
                dispatch=_DISPATCH,
            ) as service_stream:
                try:
                    await other.func(service_stream)
                except OrchestratorError as error:
                    raise GRPCError(status_of(error), error.detail) from error
    except TimeoutError:
        await _end(stream, [*CallRefused(200, Status.DEADLINE_EXCEEDED, "Deadline exceeded").headers])
        return head.deadline is not None
    return True


class _BoundedStream(ServiceStream[Any, Any]):
    """grpclib's stream, with the size of a message checked before it is read."""

    async def recv_message(self) -> Any:
        size = await size_of_message(self._stream, MAX_HEADERS)
        if size is None:
            return None
        try:
            return self._recv_type.FromString(await exactly(self._stream, size))
        except DecodeError as error:
            raise Malformed(f"the message cannot be decoded: {error}") from error


_CODEC = ProtoCodec()
_DISPATCH = _DispatchServerEvents()
