"""A pool of workers that do as they are told, and everything at once by `up`."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runner import payloads
from runner.errors import OrchestratorError
from runner.payloads import RequestPolicy
from runner.payloads.analysis_run import AnalysisRun
from runner.runtime.clock import SystemClock
from runner.sidecar.client import Client
from tests.processes import Process, Processes, children_of, eventually, free_port

OPEN = RequestPolicy(runner_id="", public_key="")


@pytest.fixture(scope="module")
def lasting_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """For what the tests of a module share."""
    started = Processes(tmp_path_factory.mktemp("log"))
    yield started
    started.end()


class Pool:
    """A sidecar with the obedient driver, and clients of it."""

    def __init__(self, processes: Processes, config: Path, orders: Path, size: int, sample: dict[str, Any]) -> None:
        self.size = size
        self._processes = processes
        self.config = config
        self._orders = orders
        self._sample = sample
        self.threads = ThreadPoolExecutor(64)
        self.socket = config.parent / "runner.sock"
        self.client = Client(str(self.socket), SystemClock())
        self.start()

    def start(self) -> None:
        """Start it, once more after it has ended."""
        self.process = self._processes.sidecar(self.config, "tests.doubles.obedient_sidecar", str(self._orders))
        self.await_whole()

    def await_whole(self) -> None:
        eventually(lambda: self.answers() and len(self.workers()) == self.size, "the pool is whole and answers")

    def configure(self, change: Callable[[str], str]) -> None:
        """Rewrite the configuration."""
        self.config.write_text(change(self.config.read_text()))

    def order(self, name: str, text: str) -> None:
        (self._orders / name).write_text(text)

    def take_back(self, name: str) -> None:
        (self._orders / name).unlink(missing_ok=True)

    def run(self, run_id: str, seconds: float = 10.0) -> int:
        """Have one run placed: the pid of the worker that did it."""
        body = json.dumps({**self._sample, "run_id": run_id}).encode()
        request = payloads.decode(body, AnalysisRun, OPEN)
        (placed,) = self.client.submit("analysis_run", request, time.monotonic() + seconds, "trace")
        return int(placed.driver.removeprefix("worker-"))

    def begin(self, run_id: str, seconds: float = 20.0) -> Future[int]:
        """The same, without waiting for it."""
        return self.threads.submit(self.run, run_id, seconds)

    def begun(self, run_id: str) -> int:
        """The pid of the worker that has that run in hand, once one has."""
        return int(eventually(lambda: self.in_hand(run_id), f"{run_id} is begun"))

    def in_hand(self, run_id: str) -> str:
        path = self._orders / run_id
        return path.read_text() if path.exists() else ""

    def occupy(self, count: int) -> dict[Future[int], int]:
        """So many commands that end when they are released, each with the worker that has begun it."""
        self.take_back("release")
        runs = [f"hold-{uuid.uuid4().hex}" for _ in range(count)]
        asked = {self.begin(run): run for run in runs}
        return {future: self.begun(run) for future, run in asked.items()}

    def release(self) -> None:
        self.order("release", "")

    def answers(self) -> int:
        """The pid of the worker that answers, 0 where none does."""
        try:
            return self.client.ping(time.monotonic() + 1).pid
        except OrchestratorError:
            return 0

    def workers(self) -> set[int]:
        return set(self.process.children())

    def end(self) -> None:
        self.process.end()
        self.threads.shutdown(cancel_futures=True)


def open_pool(
    processes: Processes, directory: Path, write_config: Callable[..., Path], sample: dict[str, Any], **sizes: int
) -> Pool:
    orders = directory / "orders"
    orders.mkdir()
    sizes = {"workers": 2, "threads": 4} | sizes
    # `printer` stands for the obedient driver: the memory driver may have one worker only.
    config = write_config(directory, driver="printer", sidecar=sizes)
    return Pool(processes, config, orders, sizes["workers"], sample)


@pytest.fixture
def pool(
    processes: Processes,
    tmp_path: Path,
    write_config: Callable[..., Path],
    sample: Callable[[str], dict[str, Any]],
) -> Iterator[Callable[..., Pool]]:
    """A pool: `pool(workers=2, threads=4)` has so many."""
    with ExitStack() as stack:

        def make(**sizes: int) -> Pool:
            made = open_pool(processes, tmp_path, write_config, sample("analysis"), **sizes)
            stack.callback(made.end)
            return made

        yield make


@pytest.fixture(scope="module")
def lasting_pool(
    lasting_processes: Processes,
    tmp_path_factory: pytest.TempPathFactory,
    write_config: Callable[..., Path],
    sample: Callable[[str], dict[str, Any]],
) -> Iterator[Callable[..., Pool]]:
    """The same for all tests of a module, which must leave it as they found it."""
    with ExitStack() as stack:

        def make(**sizes: int) -> Pool:
            directory = tmp_path_factory.mktemp("s")
            made = open_pool(lasting_processes, directory, write_config, sample("analysis"), **sizes)
            stack.callback(made.end)
            return made

        yield make


class Answer(msgspec.Struct, frozen=True):
    """What an HTTP client gets; status 0 where the connection failed."""

    status: int
    headers: dict[str, str] = {}
    body: Any = None


class Door:
    """An HTTP client of the functions."""

    def __init__(self, port: int, token: str, sample: dict[str, Any]) -> None:
        self.port = port
        self._token = token
        self._sample = sample

    def post(self, run_id: str = "", *, token: str = "", patience: float = 20.0) -> Answer:
        """One analysis, over a connection of its own."""
        body = json.dumps({**self._sample, "run_id": run_id or uuid.uuid4().hex}).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token or self._token}"}
        return self._ask(urllib.request.Request(self._url("/tasks/analysis"), body, headers), patience)

    def get(self, path: str) -> Answer:
        return self._ask(urllib.request.Request(self._url(path)), 5)

    def ready(self) -> bool:
        return self.get("/readyz").status == 200

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @staticmethod
    def _ask(request: urllib.request.Request, patience: float) -> Answer:
        try:
            with urllib.request.urlopen(request, timeout=patience) as answer:
                return Answer(answer.status, _small(answer.headers), json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, _small(error.headers), json.loads(error.read()))
        except OSError:
            return Answer(0)


def _small(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def open_door(
    processes: Processes, token: str, sample: dict[str, Any], socket_path: Path, **sizes: int
) -> tuple[Door, Process]:
    port = free_port()
    gunicorn = processes.gunicorn("functions.bundle:app", port, socket_path, **sizes)
    opened = Door(port, token, sample)
    eventually(opened.ready, "the functions are ready", 30)
    return opened, gunicorn


@pytest.fixture
def door(
    processes: Processes, token: Callable[..., str], sample: Callable[[str], dict[str, Any]]
) -> Callable[..., tuple[Door, Process]]:
    """gunicorn with all functions before a socket, ready: `door(socket, workers=2)`."""
    return partial(open_door, processes, token(), sample("analysis"))


@pytest.fixture(scope="module")
def lasting_door(
    lasting_processes: Processes, token: Callable[..., str], sample: Callable[[str], dict[str, Any]]
) -> Callable[..., tuple[Door, Process]]:
    """The same for all tests of a module."""
    return partial(open_door, lasting_processes, token(), sample("analysis"))


BACK_WITHIN = 5.0
"""Seconds from a death to the next answer; or three times what all of it needs to start, on a machine that slow."""


class Everything:
    """`python -m runner up`, with the memory driver."""

    back_within = BACK_WITHIN

    def __init__(self, process: Process, door: Door, config: Path) -> None:
        self.process = process
        self.door = door
        self.config = config
        self.socket = config.parent / "runner.sock"

    def child(self, words: str) -> int:
        """The pid of the child with these words in its command line; 0 where it is not there."""
        for pid in self.process.children():
            try:
                if words in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode():
                    return pid
            except OSError:
                continue
        return 0

    def back_from(self, words: str, dead: int, family: Sequence[int]) -> bool:
        """There is a new child for the dead one, of whose children none is left to answer."""
        born = self.child(words)
        left = set(family) & self.process.family()
        return born not in (0, dead) and bool(children_of(born)) and not left and self.door.ready()


def open_everything(
    processes: Processes, directory: Path, write_config: Callable[..., Path], token: str, sample: dict[str, Any]
) -> Everything:
    port = free_port()
    config = write_config(directory, http={"bind": f"127.0.0.1:{port}", "workers": 2, "threads": 8})
    door = Door(port, token, sample)
    began = time.monotonic()
    started = Everything(processes.python("-m", "runner", "up", "--config", str(config)), door, config)
    eventually(door.ready, "everything is ready", 30)
    started.back_within = max(BACK_WITHIN, 3 * (time.monotonic() - began))
    return started


@pytest.fixture
def up(
    processes: Processes,
    tmp_path: Path,
    write_config: Callable[..., Path],
    token: Callable[..., str],
    sample: Callable[[str], dict[str, Any]],
) -> Everything:
    """All that `up` starts, ready."""
    return open_everything(processes, tmp_path, write_config, token(), sample("analysis"))


@pytest.fixture(scope="module")
def lasting_up(
    lasting_processes: Processes,
    tmp_path_factory: pytest.TempPathFactory,
    write_config: Callable[..., Path],
    token: Callable[..., str],
    sample: Callable[[str], dict[str, Any]],
) -> Everything:
    """The same for all tests of a module, which must leave it whole."""
    directory = tmp_path_factory.mktemp("s")
    return open_everything(lasting_processes, directory, write_config, token(), sample("analysis"))
