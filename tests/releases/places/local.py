"""Restores the local driver's directory. All slots are taken, so no waiting job is started.

The place holds the lock of a job that ran, as the shim of the earlier release would.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.clusters.local import LocalCluster
from tests.releases.places import Place

HOUR = 3600.0
SHARED = (".slots", ".queue", ".making")


class LocalPlace(Place):
    """A directory."""

    def __init__(self, release: str, cluster: LocalCluster) -> None:
        super().__init__(release, "local")
        self.directory = cluster.directory
        self.age = 0.0
        """The age of all files, in seconds."""
        self._locks: dict[str, int] = {}
        for part in ("", *SHARED):
            (self.directory / part).mkdir(mode=0o700)
        for slot in range(cluster.parallelism):
            self._lock(f".slots/{slot}")

    def put(self, *states: str) -> None:
        for state in states:
            self._write(self.states[state]["job"])
            if self._runs(state):
                self._lock(f"{self.states[state]['job']}/lock")

    def free(self) -> None:
        for path in [path for path in self._locks if path.startswith(".slots/")]:
            self.unlock(path)

    def close(self) -> None:
        for path in list(self._locks):
            self.unlock(path)

    def unlock(self, path: str) -> None:
        """Release a lock, as the kernel does when its holder dies."""
        os.close(self._locks.pop(path))

    def end_as(self, state: str, other: str) -> None:
        """End a running job: write the end.json that was recorded for another state, and release the job's lock."""
        name = self.states[state]["job"]
        end = self.recorded["tree"][f"{self.states[other]['job']}/end.json"]
        self._put(self.directory / name / "end.json", end)
        self.unlock(f"{name}/lock")

    def complete(self, state: str) -> None:
        """Rename the directory of an incomplete job, as its submitter was about to do."""
        name = self.states[state]["job"]
        (incomplete,) = self.directory.glob(f".new-{name}-*")
        incomplete.rename(self.directory / name)

    def path(self, name: str) -> Path:
        return self.directory / name

    def _runs(self, state: str) -> bool:
        observed = self.states[state]["observation"]
        return bool(observed and observed["phase"] == "running")

    def _write(self, name: str) -> None:
        """Write all files of the job of that name, even if the job is incomplete."""
        written = []
        for path, file in self.recorded["tree"].items():
            top = path.partition("/")[0]
            if top == name or top.startswith(f".new-{name}-") or (top in SHARED and path.endswith(name)):
                self._put(self.directory / path, file)
                written.append(self.directory / path)
        for each in written:
            os.utime(each, (time.time() - self.age, time.time() - self.age))

    def _put(self, path: Path, file: dict[str, str]) -> None:
        if "text" in file:
            path.write_text(self._at_present(path.name, file["text"].replace("{directory}", str(self.directory))))
        else:
            path.mkdir()
        path.chmod(int(file["mode"], 8))

    def _at_present(self, file: str, text: str) -> str:
        """The text with times as if it had been written `age` seconds ago on this host."""
        now = time.time() - self.age
        moments: dict[str, Any] = {
            "job.json": {"created": now, "boot": _boot(), "monotonic": time.monotonic() - self.age},
            "begun.json": {"at": now},
            "end.json": {"ended": now},
            "reported.json": {"at": now},
        }
        return json.dumps({**json.loads(text), **moments[file]}) if file in moments else text

    def _lock(self, path: str) -> None:
        self._locks[path] = os.open(self.directory / path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._locks[path], fcntl.LOCK_EX | fcntl.LOCK_NB)


def place(release: str, cluster: LocalCluster, _request: pytest.FixtureRequest) -> LocalPlace:
    return LocalPlace(release, cluster)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
