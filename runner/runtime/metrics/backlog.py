"""How many connections wait in the backlog of a listening Unix socket: sock_diag(7), which `ss -xl` uses too."""

from __future__ import annotations

import os
import socket
import struct

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST, _NLM_F_DUMP = 1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_LISTEN = 1 << 10
"""TCP_LISTEN, which the kernel uses for Unix sockets as well."""
_SHOW_NAME, _SHOW_RQLEN = 0x1, 0x10
_NAME, _RQLEN = 0, 4
"""Attributes: the path, and two 32-bit numbers: the connections that wait, and the most that may."""

_HEADER = struct.Struct("=LHHLL")
_REQUEST = struct.Struct("=BBHIIIII")
_ANSWER_BYTES = 16  # of struct unix_diag_msg, before the attributes
_ATTRIBUTE = struct.Struct("=HH")


def length(path: str) -> int | None:
    """The connections that wait at the socket `path`; None if nobody listens there, or the kernel does not say."""
    wanted = os.fsencode(path)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as kernel:
            kernel.settimeout(1.0)
            body = _REQUEST.pack(socket.AF_UNIX, 0, 0, _LISTEN, 0, _SHOW_NAME | _SHOW_RQLEN, 0xFFFFFFFF, 0xFFFFFFFF)
            flags = _NLM_F_REQUEST | _NLM_F_DUMP
            kernel.send(_HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, flags, 1, 0) + body)
            return _find(kernel, wanted)
    except OSError:
        return None


def _find(kernel: socket.socket, wanted: bytes) -> int | None:
    found = None
    while True:
        data = kernel.recv(65536)
        while len(data) >= _HEADER.size:
            size, kind, *_ = _HEADER.unpack_from(data)
            if kind in (_NLMSG_DONE, _NLMSG_ERROR) or size < _HEADER.size:
                return found
            attributes = dict(_attributes(data[_HEADER.size + _ANSWER_BYTES : size]))
            if attributes.get(_NAME, b"").rstrip(b"\0") == wanted and _RQLEN in attributes:
                found = (found or 0) + int(struct.unpack_from("=I", attributes[_RQLEN])[0])
            data = data[(size + 3) & ~3 :]


def _attributes(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while len(data) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(data)
        if size < _ATTRIBUTE.size:
            break
        found.append((kind, data[_ATTRIBUTE.size : size]))
        data = data[(size + 3) & ~3 :]
    return found
