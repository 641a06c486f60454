"""Responses in one piece: head and body in one write. gunicorn writes the head first, and so wakes its client twice.

gunicorn's response object writes to its attribute `sock`. It is reached by `start_response`, which is a method of it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

from functions import ARRIVED


class BufferedResponse:
    """Collects what gunicorn writes of a response, and sends it when gunicorn closes the response's body.

    It stands both for the socket that gunicorn writes to and for the body that gunicorn iterates over.
    """

    def __init__(self, sock: socket.socket, body: Any) -> None:
        self._sock = sock
        self._body = body
        self._pieces: list[bytes] = []

    def sendall(self, piece: bytes) -> None:
        """Collect one piece."""
        self._pieces.append(piece)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        """Send all pieces, and close the application's body."""
        try:
            self._sock.sendall(b"".join(self._pieces))
        finally:
            if hasattr(self._body, "close"):
                self._body.close()


def send_in_one_piece(app: Any) -> Any:
    """The WSGI application, with responses in one piece and the time of a request's arrival in its environment."""

    def answer(environ: dict[str, Any], start_response: Any) -> BufferedResponse:
        environ[ARRIVED] = environ["gunicorn.socket"].arrived
        body = app(environ, start_response)
        response = start_response.__self__  # gunicorn has written nothing before it has the body
        response.sock = buffered = BufferedResponse(response.sock, body)
        return buffered

    return answer
