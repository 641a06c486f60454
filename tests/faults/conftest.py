"""Fixtures that start a pool with the obedient driver, the functions under gunicorn, and `up`; and clients of them."""

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
from runner.runtime.struct_types import learn_struct_types
from runner.sidecar.client import Client
from tests.harness.processes import Process, Processes, children_of, eventually, free_port

OPEN = RequestPolicy(runner_id="", public_key="")


@pytest.fixture(scope="module")
def lasting_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Starts processes that the tests of a module share, and ends them after the module."""
    started = Processes(tmp_path_factory.mktemp("log"))
    yield started
    started.end()


class Pool:
    """A sidecar with the obedient driver, and a client of it. `files` is the driver's directory."""

    def __init__(self, processes: Processes, config: Path, files: Path, size: int, sample: dict[str, Any]) -> None:
        self.size = size
        self._processes = processes
        self.config = config
        self._files = files
        self._sample = sample
        learn_struct_types()  # the threads of this process decode as well; see test_first_use.py
        self.threads = ThreadPoolExecutor(64)
        self.socket = config.parent / "runner.sock"
        self.client = Client(str(self.socket), SystemClock())
        self.start()

    def start(self) -> None:
        """Start the sidecar and wait until it is complete. Also starts it again after it has ended."""
        self.process = self._processes.sidecar(self.config, "tests.harness.obedient_sidecar", str(self._files))
        self.await_complete()

    def await_complete(self) -> None:
        """Wait until all workers run and the pool answers."""
        eventually(lambda: self.answers() and len(self.workers()) == self.size, "all workers run and the pool answers")

    def configure(self, change: Callable[[str], str]) -> None:
        """Rewrite the configuration."""
        self.config.write_text(change(self.config.read_text()))

    def write_file(self, name: str, text: str) -> None:
        """Write a file that controls the driver; see `tests.harness.obedient_sidecar`."""
        (self._files / name).write_text(text)

    def remove_file(self, name: str) -> None:
        (self._files / name).unlink(missing_ok=True)

    def run(self, run_id: str, seconds: float = 10.0) -> int:
        """Submit one run and wait for its result. Returns the pid of the worker that carried it out."""
        body = json.dumps({**self._sample, "run_id": run_id}).encode()
        request = payloads.decode(body, AnalysisRun, OPEN)
        (job,) = self.client.submit("analysis_run", request, time.monotonic() + seconds, "trace")
        return int(job.driver.removeprefix("worker-"))

    def submit(self, run_id: str, seconds: float = 20.0) -> Future[int]:
        """Submit one run in a thread, without waiting for its result."""
        return self.threads.submit(self.run, run_id, seconds)

    def await_started(self, run_id: str) -> int:
        """Wait until a worker has started the run. Returns the worker's pid."""
        return int(eventually(lambda: self.started_by(run_id), f"{run_id} is started"))

    def started_by(self, run_id: str) -> str:
        """The pid of the worker that has started the run, or "" if none has."""
        path = self._files / run_id
        return path.read_text() if path.exists() else ""

    def occupy(self, count: int) -> dict[Future[int], int]:
        """Start `count` commands that stay in flight until `release`. Each value is the pid of the command's worker."""
        self.remove_file("release")
        runs = [f"hold-{uuid.uuid4().hex}" for _ in range(count)]
        submitted = {self.submit(run): run for run in runs}
        return {future: self.await_started(run) for future, run in submitted.items()}

    def release(self) -> None:
        """End the commands of `occupy`."""
        self.write_file("release", "")

    def answers(self) -> int:
        """The pid of the worker that answers a ping, or 0 if none does."""
        try:
            return self.client.ping(time.monotonic() + 1).pid
        except OrchestratorError:
            return 0

    def workers(self) -> set[int]:
        return set(self.process.children())

    def end(self) -> None:
        self.process.end()
        self.threads.shutdown(cancel_futures=True)


def start_pool(
    processes: Processes, directory: Path, write_config: Callable[..., Path], sample: dict[str, Any], **sizes: int
) -> Pool:
    files = directory / "files"
    files.mkdir()
    sizes = {"workers": 2, "threads": 4} | sizes
    # The obedient driver replaces `printer`. The configuration allows the memory driver one worker only.
    config = write_config(directory, driver="printer", sidecar=sizes)
    return Pool(processes, config, files, sizes["workers"], sample)


@pytest.fixture
def pool(
    processes: Processes,
    tmp_path: Path,
    write_config: Callable[..., Path],
    sample: Callable[[str], dict[str, Any]],
) -> Iterator[Callable[..., Pool]]:
    """Starts a pool: `pool(workers=2, threads=4)`."""
    with ExitStack() as stack:

        def make(**sizes: int) -> Pool:
            made = start_pool(processes, tmp_path, write_config, sample("analysis"), **sizes)
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
    """Starts a pool for all tests of a module. A test must leave it unchanged."""
    with ExitStack() as stack:

        def make(**sizes: int) -> Pool:
            directory = tmp_path_factory.mktemp("s")
            made = start_pool(lasting_processes, directory, write_config, sample("analysis"), **sizes)
            stack.callback(made.end)
            return made

        yield make


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer. Status 0 means that the connection failed."""

    status: int
    headers: dict[str, str] = {}
    body: Any = None


class FunctionsClient:
    """An HTTP client of the functions."""

    def __init__(self, port: int, token: str, sample: dict[str, Any]) -> None:
        self.port = port
        self._token = token
        self._sample = sample

    def post(self, run_id: str = "", *, token: str = "", timeout: float = 20.0) -> Answer:
        """Request one analysis, on a new connection."""
        body = json.dumps({**self._sample, "run_id": run_id or uuid.uuid4().hex}).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token or self._token}"}
        return self._ask(urllib.request.Request(self._url("/tasks/analysis"), body, headers), timeout)

    def get(self, path: str) -> Answer:
        return self._ask(urllib.request.Request(self._url(path)), 5)

    def ready(self) -> bool:
        return self.get("/readyz").status == 200

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @staticmethod
    def _ask(request: urllib.request.Request, timeout: float) -> Answer:
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return Answer(answer.status, _lower_case(answer.headers), json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, _lower_case(error.headers), json.loads(error.read()))
        except OSError:
            return Answer(0)


def _lower_case(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def start_functions(
    processes: Processes, token: str, sample: dict[str, Any], socket_path: Path, **sizes: int
) -> tuple[FunctionsClient, Process]:
    port = free_port()
    gunicorn = processes.gunicorn("functions.bundle:app", port, socket_path, **sizes)
    client = FunctionsClient(port, token, sample)
    eventually(client.ready, "the functions are ready", 30)
    return client, gunicorn


@pytest.fixture
def functions(
    processes: Processes, token: Callable[..., str], sample: Callable[[str], dict[str, Any]]
) -> Callable[..., tuple[FunctionsClient, Process]]:
    """Starts gunicorn with all functions and waits until they are ready: `functions(socket, workers=2)`."""
    return partial(start_functions, processes, token(), sample("analysis"))


@pytest.fixture(scope="module")
def lasting_functions(
    lasting_processes: Processes, token: Callable[..., str], sample: Callable[[str], dict[str, Any]]
) -> Callable[..., tuple[FunctionsClient, Process]]:
    """Starts gunicorn with all functions, for all tests of a module."""
    return partial(start_functions, lasting_processes, token(), sample("analysis"))


RECOVERY_SECONDS = 5.0
"""From the end of a process to the next answer. On a slow machine: three times the duration of a start."""


class Up:
    """`python -m runner up`, and an HTTP client of it."""

    recovery_seconds = RECOVERY_SECONDS

    def __init__(self, process: Process, client: FunctionsClient, config: Path) -> None:
        self.process = process
        self.client = client
        self.config = config
        self.socket = config.parent / "runner.sock"

    def child(self, words: str) -> int:
        """The pid of the child process with these words in its command line, or 0 if there is none."""
        return self.process.child(words)

    def recovered(self, words: str, killed: int, old_children: Sequence[int]) -> bool:
        """Whether a new child process answers in place of the killed one, whose own children have all ended."""
        new = self.child(words)
        left = set(old_children) & self.process.family()
        return new not in (0, killed) and bool(children_of(new)) and not left and self.client.ready()


def start_up(
    processes: Processes,
    directory: Path,
    write_config: Callable[..., Path],
    token: str,
    sample: dict[str, Any],
    **sections: Any,
) -> Up:
    port = free_port()
    config = write_config(directory, http={"bind": f"127.0.0.1:{port}", "workers": 2, "threads": 8}, **sections)
    client = FunctionsClient(port, token, sample)
    began = time.monotonic()
    started = Up(processes.python("-m", "runner", "up", "--config", str(config)), client, config)
    eventually(client.ready, "`up` is ready", 30)
    started.recovery_seconds = max(RECOVERY_SECONDS, 3 * (time.monotonic() - began))
    return started


@pytest.fixture
def up(
    processes: Processes,
    tmp_path: Path,
    write_config: Callable[..., Path],
    token: Callable[..., str],
    sample: Callable[[str], dict[str, Any]],
) -> Up:
    """Starts `python -m runner up`, until it is ready."""
    return start_up(processes, tmp_path, write_config, token(), sample("analysis"))


@pytest.fixture
def tracked_up(
    processes: Processes,
    tmp_path: Path,
    write_config: Callable[..., Path],
    token: Callable[..., str],
    sample: Callable[[str], dict[str, Any]],
) -> Up:
    """Starts `python -m runner up` with the local driver, whose jobs have a tracker, until that leads."""
    sections = {"driver": "local", "local": {"directory": str(tmp_path / "jobs")}}
    started = start_up(processes, tmp_path, write_config, token(), sample("analysis"), **sections)
    eventually(lambda: leads(started.process, started.child(TRACKER)), "the tracker leads")
    return started


TRACKER = "runner track"


def leads(process: Process, pid: int) -> bool:
    """Whether the tracker with this pid (the process or a child of it) has logged that it leads, with its name."""
    lines = (line for line in process.said().splitlines() if "this process leads" in line)
    return bool(pid) and any(f"-{pid}-" in line for line in lines)


@pytest.fixture(scope="module")
def lasting_up(
    lasting_processes: Processes,
    tmp_path_factory: pytest.TempPathFactory,
    write_config: Callable[..., Path],
    token: Callable[..., str],
    sample: Callable[[str], dict[str, Any]],
) -> Up:
    """Starts `python -m runner up` for all tests of a module. After each test all its processes must run."""
    directory = tmp_path_factory.mktemp("s")
    return start_up(lasting_processes, directory, write_config, token(), sample("analysis"))
