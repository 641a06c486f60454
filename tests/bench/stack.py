"""The processes under measurement: start, wait until ready, measure, end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.harness.processes import listens

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def process(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """Start a process, and end it with SIGTERM. Yields its pid."""
    with log.open("ab") as sink:
        child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **(environment or {})}, stdout=sink, stderr=sink)
    try:
        yield child.pid
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(40)


@contextmanager
def gunicorn(app: str, port: int, log: Path, socket_path: Path, *flags: str) -> Iterator[int]:
    """Start gunicorn as it is deployed, and wait until it serves. Yields its pid."""
    environment = {
        "ORCHESTRATOR_HTTP": json.dumps({"bind": f"127.0.0.1:{port}"}),
        "ORCHESTRATOR_SOCKET": str(socket_path),
        "ORCHESTRATOR_LOG_LEVEL": "WARNING",
    }
    command = (sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", *flags, app)
    with process(command, log, environment) as pid:
        await_answer(f"http://127.0.0.1:{port}/livez")
        yield pid


@contextmanager
def grpc_server(log: Path, socket_path: Path, workers: int = 2) -> Iterator[int]:
    """Start as many gRPC servers on one port as HTTP has workers, and wait until they listen. Yields the port."""
    port = free_port()
    environment = {
        "ORCHESTRATOR_GRPC": json.dumps({"bind": f"127.0.0.1:{port}"}),
        "ORCHESTRATOR_SOCKET": str(socket_path),
        "ORCHESTRATOR_LOG_LEVEL": "WARNING",
    }
    with ExitStack() as started:
        for _ in range(workers):
            pid = started.enter_context(process((sys.executable, "-m", "functions.grpc"), log, environment))
            await_listener(pid)
        yield port


def await_listener(pid: int, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(OSError):
            if listens(pid):
                return
        time.sleep(0.05)
    raise TimeoutError(f"process {pid} did not listen within {seconds} s")


def await_answer(url: str, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.05)
    raise TimeoutError(f"{url} did not answer within {seconds} s")


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(status.parent.name))
    found, waiting = [], [pid]
    while waiting:
        current = waiting.pop()
        found.append(current)
        waiting.extend(children.get(current, ()))
    return found


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of the processes so far (proc(5), stat)."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mib(pids: Sequence[int]) -> float:
    """Proportional set size: memory that forked processes share is counted once (proc(5), smaps_rollup)."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024
