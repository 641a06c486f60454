"""Processes under test: started, awaited, looked into and, whatever becomes of the test, ended.

Every process carries a mark in its environment, which its descendants inherit. So those that a killed parent has left
behind are found as well: by a test that asserts there are none, and when all are ended.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent
MARK = "ORCHESTRATOR_TEST_MARK"
T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, seconds: float = 15.0) -> T:
    """What `look` gives once that is true; for awaiting an event instead of sleeping."""
    until = time.monotonic() + seconds
    while True:
        if seen := look():
            return seen
        if time.monotonic() > until:
            raise AssertionError(f"within {seconds} s it did not happen that {what}")
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """One started process, its output in a file."""

    def __init__(self, command: tuple[str, ...], environment: Mapping[str, str], log: Path) -> None:
        self.mark = environment[MARK]
        self.log = log
        with log.open("ab") as sink:
            self._child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=sink, stderr=sink)

    def __repr__(self) -> str:
        return f"Process({self.pid}, log={self.log})"

    @property
    def pid(self) -> int:
        return self._child.pid

    def signal(self, number: int) -> None:
        self._child.send_signal(number)

    def ended(self, seconds: float = 15.0) -> int:
        """Its exit code, once it has ended."""
        return self._child.wait(seconds)

    def runs(self) -> bool:
        return self._child.poll() is None

    def children(self) -> list[int]:
        """The living processes that it is the parent of."""
        return children_of(self.pid)

    def family(self) -> set[int]:
        """The living processes that descend from it, whoever has adopted them since; itself included."""
        return marked(self.mark)

    def said(self) -> str:
        return self.log.read_text()

    def end(self) -> None:
        """Kill it with all its family. The stopped are killed as well: SIGKILL needs no consent."""
        kill_marked(self.mark)
        self._child.wait(10)


class Processes:
    """Starts processes, and ends them all."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started: list[Process] = []

    def python(self, *arguments: str, **environment: str) -> Process:
        """`python ARGUMENTS` from the tree's root, with some variables more."""
        mark = uuid.uuid4().hex
        log = self._directory / f"{len(self._started)}-{arguments[1].rpartition('.')[2]}.log"
        variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment, MARK: mark}
        process = Process((sys.executable, *arguments), variables, log)
        self._started.append(process)
        return process

    def sidecar(self, config: Path, module: str = "runner", *more: str) -> Process:
        """`python -m runner serve`, or another module in its place."""
        arguments = ("serve", "--config", str(config)) if module == "runner" else (str(config), *more)
        return self.python("-m", module, *arguments)

    def gunicorn(
        self, app: str, port: int, socket_path: Path, *flags: str, workers: int = 1, threads: int = 8
    ) -> Process:
        """gunicorn as it is deployed."""
        return self.python(
            *("-m", "gunicorn", "-c", "gunicorn.conf.py", app, *flags),
            ORCHESTRATOR_HTTP=json.dumps({"bind": f"127.0.0.1:{port}", "workers": workers, "threads": threads}),
            ORCHESTRATOR_SOCKET=str(socket_path),
        )

    def end(self) -> None:
        for process in reversed(self._started):
            process.end()


def marked(mark: str) -> set[int]:
    """The living processes that were started with that mark, and their descendants."""
    found = set()
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in (directory / "environ").read_bytes():
                found.add(int(directory.name))
    return found


def kill_marked(mark: str) -> None:
    """Kill them until there is none."""
    while living := marked(mark):
        for pid in living:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def listens(pid: int) -> bool:
    """Whether the process listens on a TCP socket (proc(5): state 0A of net/tcp, and the sockets among its files)."""
    lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    listening = {f"socket:[{fields[9]}]" for fields in lines if fields[3] == "0A"}
    return bool(listening & {os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()})


def children_of(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, ppid = stat.read_text().rpartition(")")[2].split()[:2]
            if int(ppid) == parent and state != "Z":
                found.append(int(stat.parent.name))
    return sorted(found)


def stop(pid: int) -> None:
    """SIGSTOP, and wait until every thread has stopped: until then one may still take something into its hands."""
    os.kill(pid, signal.SIGSTOP)
    stats = [path / "stat" for path in Path(f"/proc/{pid}/task").iterdir()]
    eventually(lambda: all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in stats), "it has stopped")


def cpu_seconds(pid: int) -> float:
    """User and system time so far (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def lowest_free_descriptor(pid: int) -> int:
    """As a limit on open files, it is one that lets the process open no other."""
    used = set(map(int, os.listdir(f"/proc/{pid}/fd")))
    return min(set(range(len(used) + 1)) - used)


def limit_open_files(pid: int, soft: int) -> int:
    """Change another process's limit (prlimit(2)); gives the one before."""
    before, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    return before
