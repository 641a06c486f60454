"""A git server over HTTP with a password, which runs git's own http-backend (git-http-backend(1))."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Settings:
    """What one server serves, and to whom."""

    repositories: Path
    username: str
    password: str
    seen: Callable[[BaseHTTPRequestHandler], None]
    old: bool

    @property
    def authorization(self) -> str:
        return f"Basic {base64.b64encode(f'{self.username}:{self.password}'.encode()).decode()}"


class Handler(BaseHTTPRequestHandler):
    """Answers one request with the output of git's backend."""

    def __init__(self, settings: Settings, *arguments: Any) -> None:
        self._settings = settings
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self._settings.seen(self)
        if self.headers.get("Authorization") != self._settings.authorization:
            self._refuse()
            return
        head, _, body = self._backend().partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200").split()[0])
        self._answer(status, list(headers.items()), body)

    do_POST = do_GET  # noqa: N815  (the base class prescribes the name)

    def _refuse(self) -> None:
        """Repeat the credentials, as a server may. git prints such an answer."""
        given = self.headers.get("Authorization", "Basic ").removeprefix("Basic ")
        text = f"{given} is {base64.b64decode(given).decode()} and not known here"
        headers = [("WWW-Authenticate", 'Basic realm="git"'), ("Content-Type", "text/plain")]
        self._answer(401, headers, text.encode())

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _backend(self) -> bytes:
        path, _, query = self.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_PROJECT_ROOT": str(self._settings.repositories),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": "" if self._settings.old else self.headers.get("Git-Protocol", ""),
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "REMOTE_USER": self._settings.username,
        }
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        backend = ["git", "http-backend"]
        return subprocess.run(backend, env=environment, input=body, stdout=subprocess.PIPE, check=False).stdout

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def git_server(
    repositories: Path,
    username: str,
    password: str,
    seen: Callable[[BaseHTTPRequestHandler], None],
    host: str = "127.0.0.1",
    *,
    old: bool = False,
) -> Iterator[str]:
    """`host:port` of a server of all repositories below a directory. It calls `seen` with every request first.

    An `old` server speaks version 0 of the protocol only, and gives only commits that a reference names.
    """
    settings = Settings(repositories, username, password, seen, old)
    with ThreadingHTTPServer((host, 0), partial(Handler, settings)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"{host}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
