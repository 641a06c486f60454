"""A call's message: its length, then its bytes, within the byte budget of the process."""

from __future__ import annotations

import asyncio
import struct

from grpclib.const import Status
from grpclib.protocol import Stream

from functions.byte_budget import ByteBudget
from functions.grpc.head import CallRefused
from runner.errors import Busy, Malformed, TooLarge

MAX_ARRIVING = 128 * 1024 * 1024
"""Bytes of the messages that one process is receiving, over all its connections."""

PREFIX = struct.Struct("!BI")
"""Compressed or not, and the message's length."""

_PIECE = 65536


class ArrivingMessage:
    """The one message of a call, and its part of the byte budget."""

    def __init__(self, stream: Stream, size: int, budget: ByteBudget) -> None:
        self._stream = stream
        self._size = size
        self._budget = budget
        self._task = asyncio.current_task()
        self._refused = False

    def refuse(self) -> None:
        """Called where the byte budget is used up."""
        self._refused = True
        if self._task is not None:
            self._task.cancel()

    async def receive(self) -> bytes:
        """All its bytes. Raises Malformed if it ends early or another follows, Busy if the byte budget is used up."""
        received = bytearray()
        try:
            while len(received) < self._size:
                piece = await exactly(self._stream, min(_PIECE, self._size - len(received)))
                if not piece:
                    raise Malformed("the message ended early; send it whole")
                received += piece
                self._budget.add(self, len(piece))
            if await exactly(self._stream, 1):
                raise Malformed("the call has more than one message; send one message")
        except asyncio.CancelledError:
            if self._refused and self._task is not None and not self._task.uncancel():
                raise Busy("too many large messages are being received; repeat the call") from None
            raise
        finally:
            self._budget.release(self)
        return bytes(received)


async def size_of_message(stream: Stream, limit: int) -> int | None:
    """Read the prefix of the next message: its length, or None at the end of the stream."""
    prefix = await exactly(stream, PREFIX.size)
    if not prefix:
        return None
    compressed, size = PREFIX.unpack(prefix)
    if compressed:
        offer = ("grpc-accept-encoding", "identity")
        raise CallRefused(200, Status.UNIMPLEMENTED, "Compressed messages are not accepted", offer)
    if size > limit:
        raise TooLarge(f"the message has {size} bytes; {limit} are accepted; send a smaller request")
    return int(size)


async def exactly(stream: Stream, size: int) -> bytes:
    """Read `size` bytes, or none at the end of the stream. Raises Malformed if it ends in between."""
    try:
        return await stream.recv_data(size)
    except AssertionError as error:  # grpclib's sign of an early end
        raise Malformed("the message ended early; send it whole") from error
