"""The local driver: one directory is the cluster, and every instance uses it as another process would."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from runner.config.drivers import LocalImage
from runner.drivers.local import files
from runner.drivers.local.driver import LocalDriver
from runner.runtime.clock import SystemClock
from tests.conformance.clusters import Cluster
from tests.harness.processes import eventually
from tests.harness.snapshots import snapshot


class LocalCluster(Cluster):
    """Jobs run as processes of this host."""

    parallelism = 4

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        super().__init__()

    def another(self) -> LocalDriver:
        return LocalDriver(
            self.directory,
            parallelism=self.parallelism,
            images={"*": LocalImage()},
            resolve_secrets=self.resolver,
            clock=SystemClock(),
        )

    def lose(self, name: str) -> None:
        self.directory.joinpath(name).rename(self.directory / f"{files.GONE}{name}-{files.token()}")
        for pid in self._processes(f"{self.directory}/{name}"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def state(self) -> object:
        """As it stays: what is left of a job that has ended is still being removed for a moment."""
        return eventually(self._unchanged, f"nothing below {self.directory} changes by itself any more")

    def _unchanged(self) -> object:
        before = self._state()
        time.sleep(0.3)
        return before if before and before == self._state() else None

    def _state(self) -> object:
        with suppress(FileNotFoundError):
            shims = [pid for pid in self._processes() if b"shim.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            return snapshot(self.directory), sorted(shims)
        return None

    def close(self) -> None:
        """Kill the processes of the directory: a job's processes outlive their driver on purpose."""
        while pids := self._processes():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _processes(self, text: str = "") -> list[int]:
        """The processes with the directory's path (or this text) in arguments, environment or working directory."""
        text, found = text or str(self.directory), []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                texts = [(process / name).read_bytes() for name in ("cmdline", "environ")]
                if text.encode() in b"".join(texts) or text in str((process / "cwd").readlink()):
                    found.append(int(process.name))
        return [pid for pid in found if pid != os.getpid()]


@contextmanager
def opened(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    cluster = LocalCluster(request.getfixturevalue("tmp_path") / "jobs")
    try:
        yield cluster
    finally:
        cluster.close()
