"""nginx before several replicas, as an ingress is: it keeps connections to them open, and uses these again."""

from __future__ import annotations

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


@contextmanager
def nginx(work: Path, replicas: Sequence[str]) -> Iterator[str]:
    """Run nginx before these URLs, and yield its own. Raises RuntimeError if it does not start.

    A replica that refuses a connection stays in use, since the next one may follow within seconds; a request that was
    sent to a replica is never sent to another one, which is nginx's default for POST.
    """
    port = free_port()
    servers = "\n        ".join(f"server {url.removeprefix('http://')} max_fails=0;" for url in replicas)
    configuration = work / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(work=work, servers=servers, port=port))
    child = subprocess.Popen((PROGRAM, "-p", str(work), "-c", str(configuration)), stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        _await(url, work / "nginx.log")
        yield url
    finally:
        child.terminate()
        child.wait(10)


def _await(url: str, log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        try:
            urllib3.request("GET", f"{url}/livez", timeout=2, retries=False)
            return
        except urllib3.exceptions.HTTPError:
            time.sleep(0.05)
    raise RuntimeError(f"nginx does not answer within {_START_SECONDS} s: {log.read_text()[-1000:]}")
