"""The servers, which are started once for all tests, and the requests to send to them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.harness.processes import Process, Processes, eventually, free_port
from tests.harness.wire import Answer, Connection, head, request

VCS = {"remote_url": "https://example.org/a/b.git", "checkout_oid": "7d8dd9f8f0b1d1c7aaafda6f4adde8ca13db185c"}


class Server(msgspec.Struct, frozen=True):
    """A gunicorn that serves some functions."""

    port: int
    process: Process

    def get(self, path: str) -> Answer:
        with Connection(self.port) as connection:
            return connection.ask(head("GET", path))

    def ready(self) -> bool:
        with suppress(OSError, EOFError):
            return self.get("/readyz").status == 200
        return False


@pytest.fixture(scope="package")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    started = Processes(tmp_path_factory.mktemp("log"))
    yield started
    started.end()


@pytest.fixture(scope="package")
def serve(processes: Processes) -> Callable[..., Server]:
    """A server: `serve("functions.bundle:app", socket)`."""

    def start(app: str, socket_path: Path, *flags: str) -> Server:
        port = free_port()
        return Server(port, processes.gunicorn(app, port, socket_path, *flags))

    return start


@pytest.fixture(scope="package")
def sidecar_socket(
    processes: Processes, tmp_path_factory: pytest.TempPathFactory, write_config: Callable[..., Path]
) -> Path:
    """The sidecar, with the memory driver."""
    directory = tmp_path_factory.mktemp("s")
    processes.sidecar(write_config(directory))
    return directory / "runner.sock"


@pytest.fixture(scope="package")
def servers(serve: Callable[..., Server], sidecar_socket: Path) -> dict[str, Server]:
    """One function alone, and the bundle; both use the same sidecar."""
    started = {name: serve(f"functions.{name}:app", sidecar_socket) for name in ("analysis", "bundle")}
    for name, server in started.items():
        eventually(server.ready, f"{name} is ready", 30)
    return started


@pytest.fixture(scope="package")
def obedient_socket(
    processes: Processes, tmp_path_factory: pytest.TempPathFactory, write_config: Callable[..., Path]
) -> Path:
    """A sidecar that is slow or fails as a request's run id says, see `tests.harness.obedient_sidecar`."""
    directory = tmp_path_factory.mktemp("s")
    processes.sidecar(write_config(directory), "tests.harness.obedient_sidecar")
    return directory / "runner.sock"


@pytest.fixture(scope="package")
def obedient(serve: Callable[..., Server], obedient_socket: Path) -> Server:
    """A function that uses the sidecar at `obedient_socket`."""
    server = serve("functions.analysis:app", obedient_socket)
    eventually(server.ready, "it is ready", 30)
    return server


class Slow(msgspec.Struct, frozen=True):
    """The answer, None if the connection ended without one; and the seconds until then."""

    answer: Answer | None
    seconds: float


@pytest.fixture(scope="package")
def slowly(
    obedient: Server, token: Callable[..., str], sample: Callable[[str], dict[str, Any]]
) -> Iterator[dict[str, Future[Slow]]]:
    """Slow bodies and a slow runner, all at the same time, since each lasts until a timeout."""
    path, known = "/tasks/analysis", {"Authorization": f"Bearer {token()}"}
    long = head("POST", path, known | {"Content-Length": "100000"})
    chunks = head("POST", path, known | {"Transfer-Encoding": "chunked"})
    slow_run = json.dumps(sample("analysis") | {"run_id": "wait-12000-x"}).encode()
    slow_requests = {
        "not a byte": (b"", b""),
        "half a head": (long[:20], b""),
        "silence": (long, b""),
        "a byte now and then": (long, b" "),
        "a chunk now and then": (chunks, b"1\r\n \r\n"),
        "a slow runner": (request("POST", path, slow_run, known), b""),
    }
    with ThreadPoolExecutor() as pool:
        yield {name: pool.submit(send_slowly, obedient.port, *parts) for name, parts in slow_requests.items()}


def send_slowly(port: int, first: bytes, again: bytes) -> Slow:
    """Send `first`, then `again` every 0.2 s until there is an answer."""
    began = time.monotonic()
    with Connection(port) as connection:
        connection.send(first)
        while not connection.hears(0.2):
            assert time.monotonic() - began < 30, "no timeout ended it"
            connection.send(again)
        answer = None
        with suppress(EOFError):
            answer = connection.answer()
        return Slow(answer, time.monotonic() - began)


@pytest.fixture(scope="package")
def bundle(servers: dict[str, Server]) -> Server:
    return servers["bundle"]


@pytest.fixture
def payload(sample: Callable[[str], dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """A request with a new run id, and with the given fields replaced: `payload("analysis_run", checks=[])`."""

    def make(request_type: str = "analysis_run", **fields: Any) -> dict[str, Any]:
        sizes = {"version": "dev", "cpu_limit": "100", "memory_limit": "64"}
        run = {"run_id": str(uuid.uuid4()), "run_serial": "0"}
        kinds: dict[str, dict[str, Any]] = {
            "analysis_run": sample("analysis") | run,
            "autofix_run": sample("autofix") | run,
            "transformer_run": run | {"vcs_meta": VCS, "transformer": {"command": "x", "meta": sizes}},
            "ssh_verify_run": run | {"ssh_meta": {"remote_url": "git@example.org:a/b.git"}},
            "cancel_check_run": run | {"analysis_meta": {**run, "check_seq": "1"}},
            "patcher_run": run | {"vcs_meta": VCS},
        }
        return kinds[request_type] | fields

    return make


@pytest.fixture
def post(bundle: Server, token: Callable[..., str]) -> Callable[..., Answer]:
    """The answer to one POST, with a valid token unless `authorize` is False."""

    def send(
        body: Any, path: str = "/tasks/analysis", *, port: int = bundle.port, authorize: bool = True, **headers: str
    ) -> Answer:
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        known = {"Authorization": f"Bearer {token()}"} if authorize else {}
        with Connection(port) as connection:
            return connection.ask(request("POST", path, encoded, known | named))

    return send
