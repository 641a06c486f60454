"""Processes under test: start them, wait for them, inspect them, and end them even if the test fails.

Every process has a mark in its environment, and its descendants inherit the mark. So orphans of a killed parent are
found as well: by tests that assert that there are none, and at the end of the test.
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

ROOT = Path(__file__).resolve().parents[2]
MARK = "ORCHESTRATOR_TEST_MARK"
T = TypeVar("T")


def eventually(condition: Callable[[], T], what: str, seconds: float = 15.0) -> T:
    """Poll `condition` until its result is true, and return the result.

    Raises AssertionError after `seconds`; `what` describes the condition as a sentence.
    """
    until = time.monotonic() + seconds
    while True:
        if result := condition():
            return result
        if time.monotonic() > until:
            raise AssertionError(f"did not become true within {seconds} s: {what}")
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """One started process. Its output goes to the file `log`."""

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
        """Wait until it has ended. Returns its exit code."""
        return self._child.wait(seconds)

    def runs(self) -> bool:
        return self._child.poll() is None

    def children(self) -> list[int]:
        """The pids of its running child processes."""
        return children_of(self.pid)

    def child(self, words: str) -> int:
        """The pid of the child process with these words in its command line, or 0 if there is none."""
        for pid in self.children():
            with suppress(OSError):  # it has ended meanwhile
                if words in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode():
                    return pid
        return 0

    def family(self) -> set[int]:
        """The pids of itself and all its running descendants, orphans included."""
        return marked(self.mark)

    def said(self) -> str:
        """Its output so far."""
        return self.log.read_text()

    def end(self) -> None:
        """Kill it and all its descendants. SIGKILL ends stopped processes as well."""
        kill_marked(self.mark)
        self._child.wait(10)


class Processes:
    """Starts processes, and ends all of them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started: list[Process] = []

    def python(self, *arguments: str, **environment: str) -> Process:
        """Start `python ARGUMENTS` in the repository's root, with additional environment variables."""
        return self.command(sys.executable, *arguments, name=arguments[1].rpartition(".")[2], **environment)

    def command(self, *command: str, name: str, **environment: str) -> Process:
        """Start a command, as `python` does. `name` becomes a part of its log's name."""
        variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment, MARK: uuid.uuid4().hex}
        process = Process(command, variables, self._directory / f"{len(self._started)}-{name}.log")
        self._started.append(process)
        return process

    def sidecar(self, config: Path, module: str = "runner", *more: str) -> Process:
        """Start the pool without a tracker, or another module with the configuration file as its argument."""
        arguments = ("serve", "--no-tracker", "--config", str(config)) if module == "runner" else (str(config), *more)
        return self.python("-m", module, *arguments)

    def gunicorn(
        self, app: str, port: int, socket_path: Path, *flags: str, workers: int = 1, threads: int = 8
    ) -> Process:
        """Start gunicorn as it is deployed."""
        return self.python(
            *("-m", "gunicorn", "-c", "gunicorn.conf.py", app, *flags),
            ORCHESTRATOR_HTTP=json.dumps({"bind": f"127.0.0.1:{port}", "workers": workers, "threads": threads}),
            ORCHESTRATOR_SOCKET=str(socket_path),
        )

    def end(self) -> None:
        for process in reversed(self._started):
            process.end()


def marked(mark: str) -> set[int]:
    """The pids of the running processes that were started with this mark, and of their descendants."""
    found = set()
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in (directory / "environ").read_bytes():
                found.add(int(directory.name))
    return found


def kill_marked(mark: str) -> None:
    """Kill the processes with this mark until none is left."""
    while running := marked(mark):
        for pid in running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def listens(pid: int) -> bool:
    """Whether the process listens on a TCP socket (proc(5): state 0A in net/tcp, for a socket that it has open)."""
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
    """Send SIGSTOP and wait until every thread has stopped. Until then a thread may still accept a command."""
    os.kill(pid, signal.SIGSTOP)
    stats = [path / "stat" for path in Path(f"/proc/{pid}/task").iterdir()]
    eventually(lambda: all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in stats), "it has stopped")


def cpu_seconds(pid: int) -> float:
    """User and system time so far (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def lowest_free_descriptor(pid: int) -> int:
    """The lowest free file descriptor. As the limit on open files, it prevents the process from opening another."""
    used = set(map(int, os.listdir(f"/proc/{pid}/fd")))
    return min(set(range(len(used) + 1)) - used)


def limit_open_files(pid: int, soft: int) -> int:
    """Change another process's limit on open files (prlimit(2)). Returns the previous limit."""
    before, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    return before
