"""git over HTTP with a password, by git's own http-backend (git-http-backend(1)), for one test."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


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
    """`host:port` of a server of all that is below a directory. Every request is `seen` first.

    An old one speaks version 0 of the protocol only, and gives no commit that no reference names.
    """
    expected = base64.b64encode(f"{username}:{password}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen(self)
            if self.headers.get("Authorization") != f"Basic {expected}":
                self._refuse()
                return
            head, _, body = self._backend().partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            status = int(headers.pop("Status", "200").split()[0])
            self._answer(status, list(headers.items()), body)

        do_POST = do_GET  # noqa: N815  (the base class calls it so)

        def _refuse(self) -> None:
            """git prints such an answer; a server may say back what it was told."""
            told = self.headers.get("Authorization", "Basic ").removeprefix("Basic ")
            said = f"{told} is {base64.b64decode(told).decode()} and not known here"
            headers = [("WWW-Authenticate", 'Basic realm="git"'), ("Content-Type", "text/plain")]
            self._answer(401, headers, said.encode())

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
                "GIT_PROJECT_ROOT": str(repositories),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": "" if old else self.headers.get("Git-Protocol", ""),
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "REMOTE_USER": username,
            }
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            backend = ["git", "http-backend"]
            return subprocess.run(
                backend,
                env=environment,
                input=body,
                stdout=subprocess.PIPE,
                check=False,
            ).stdout

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer((host, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"{host}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
