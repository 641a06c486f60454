"""The connection's bytes. Message properties that cannot be decoded are replaced by empty ones.

A broker passes on whatever properties a message came with. Where one of them is not UTF-8, or is nested too deeply, the
library ends the whole connection. The message would be delivered again and end the next connection, so its queue would
be blocked for ever. Only the body is needed. So each frame that carries properties is decoded here first.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any, cast

from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from pamqp.header import ContentHeader
from yarl import URL

_HEAD = struct.Struct(">BHI")
"""Type, channel and size of a frame (AMQP 0-9-1, 4.2.3)."""

_PROPERTIES = 2
"""The type of a content header frame: class, weight, size of the body; flags of the properties; the properties."""

_BEFORE_FLAGS = 12
_PROTOCOL = b"AMQP"


class Reader:
    """The stream in whole frames, each of which the library can decode; read in pieces of any size."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self._stream = stream
        self._frame = memoryview(b"")

    def at_eof(self) -> bool:
        """Like the method of asyncio.StreamReader."""
        return not self._frame and self._stream.at_eof()

    async def read(self, size: int = -1) -> bytes:
        """Like the method of asyncio.StreamReader. It is called for the rest of a stream that is not AMQP."""
        return await self._stream.read(size)

    async def readexactly(self, size: int) -> bytes:
        """Like the method of asyncio.StreamReader, but it gives at most the rest of one frame."""
        if not self._frame:
            self._frame = memoryview(await self._next())
        piece, self._frame = self._frame[:size], self._frame[size:]
        return bytes(piece)

    async def _next(self) -> bytes:
        head = await self._stream.readexactly(_HEAD.size)
        if head.startswith(_PROTOCOL):  # the broker's answer to a version that it does not support
            return head + await self._stream.readexactly(1)
        kind, channel, size = _HEAD.unpack(head)
        rest = await self._stream.readexactly(size + 1)
        if kind == _PROPERTIES and not readable(rest[:-1]):
            payload = rest[:_BEFORE_FLAGS] + b"\x00\x00"
            return _HEAD.pack(kind, channel, len(payload)) + payload + rest[-1:]
        return head + rest


def readable(header: bytes) -> bool:
    """Whether the library can read this content header."""
    try:
        ContentHeader().unmarshal(header)
    except Exception:  # UnicodeDecodeError, RecursionError, OverflowError …: the answer is the same
        return False
    return True


class Transport(TransportFactory):
    """TCP, or TLS for amqps."""

    async def create(self, url: URL, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the broker."""
        factory = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, writer = await factory.create(url, **options)
        return cast("asyncio.StreamReader", Reader(reader)), writer
