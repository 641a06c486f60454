"""nginx before several replicas, as an ingress is: it keeps connections to them open, and uses these again."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import urllib3

from tests.harness.processes import free_port

PROGRAM = Path("/usr/sbin/nginx")  # of Debian's package, which the test cluster installs
_START_SECONDS = 10.0
_CONFIGURATION = """\
user root;
daemon off;
worker_processes 1;
pid {work}/nginx.pid;
error_log {work}/nginx.log;
events {{}}
http {{
    access_log off;
    keepalive_timeout 0;  # a reload closes idle connections of clients, maybe just when a client uses one
    client_body_temp_path {work}/bodies;
    proxy_temp_path {work}/answers;
    fastcgi_temp_path {work}/unused;
    uwsgi_temp_path {work}/unused;
    scgi_temp_path {work}/unused;
    upstream replicas {{
        {servers}
        keepalive 16;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://replicas;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


class Nginx:
    """A running nginx. `url` is where it listens.

    A replica that refuses a connection stays in use, since the next one may follow within seconds; a request that was
    sent to a replica is never sent to another one, which is nginx's default for POST.
    """

    def __init__(self, work: Path, replicas: Sequence[str]) -> None:
        self._work = work
        self._port = free_port()
        self._configuration = work / "nginx.conf"
        self._write(replicas)
        command = (PROGRAM, "-p", str(work), "-c", str(self._configuration))
        self._child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{self._port}"

    def route(self, replicas: Sequence[str]) -> None:
        """Send to these URLs from now on. What the old workers have in flight is finished."""
        self._write(replicas)
        self._child.send_signal(signal.SIGHUP)

    def await_answer(self) -> None:
        """Wait until it answers. Raises RuntimeError after _START_SECONDS."""
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            try:
                urllib3.request("GET", f"{self.url}/livez", timeout=2, retries=False)
                return
            except urllib3.exceptions.HTTPError:
                time.sleep(0.05)
        said = (self._work / "nginx.log").read_text()[-1000:]
        raise RuntimeError(f"nginx does not answer within {_START_SECONDS} s: {said}")

    def close(self) -> None:
        self._child.terminate()
        self._child.wait(10)

    def _write(self, replicas: Sequence[str]) -> None:
        servers = "\n        ".join(f"server {url.removeprefix('http://')} max_fails=0;" for url in replicas)
        self._configuration.write_text(_CONFIGURATION.format(work=self._work, servers=servers, port=self._port))


@contextmanager
def nginx(work: Path, replicas: Sequence[str]) -> Iterator[Nginx]:
    """Run nginx before these URLs. Raises RuntimeError if it does not start."""
    running = Nginx(work, replicas)
    try:
        running.await_answer()
        yield running
    finally:
        running.close()
