"""The client of the recording atlas: starts it, sets its mode, and reads what it has recorded."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]


class Delivery(msgspec.Struct, frozen=True):
    """One request that atlas received. `at` is in seconds of the host's monotonic clock."""

    at: float
    path: str
    status: int
    """What atlas answered; 0 if nothing."""
    size: int = 0
    id: str = ""
    run_id: str = ""
    code: int | None = None
    sentence: str = ""
    evidence: str = ""
    unreadable: str = ""

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300


class Atlas:
    """A running atlas. `url` is where it listens."""

    def __init__(self, child: subprocess.Popen[str], host: str, path: Path) -> None:
        self._child = child
        self._path = path
        self._read = 0
        self._deliveries: list[Delivery] = []
        self.url = f"http://{host}:{self._confirmation().removeprefix('listening ')}"

    def behave(self, mode: str) -> None:
        """Set the mode: `accept`, `slow SECONDS`, `fail CODE`, `hang` or `refuse`. It holds when this returns."""
        assert self._child.stdin is not None
        self._child.stdin.write(mode + "\n")
        self._child.stdin.flush()
        assert self._confirmation() == mode

    def follow(self, schedule: Sequence[tuple[float, str]]) -> None:
        """Set each mode for its seconds, one after the other. The last one stays."""
        for seconds, mode in schedule:
            self.behave(mode)
            time.sleep(seconds)

    def deliveries(self) -> list[Delivery]:
        """Every request so far, in the order of arrival."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            *lines, _ = file.read().split(b"\n")
        self._read += sum(len(line) + 1 for line in lines)
        self._deliveries += [msgspec.json.decode(line, type=Delivery) for line in lines]
        return self._deliveries

    def accepted(self) -> list[Delivery]:
        """Every request that it has answered with 2xx."""
        return [each for each in self.deliveries() if each.accepted]

    def _confirmation(self) -> str:
        assert self._child.stdout is not None
        return self._child.stdout.readline().strip()

    def close(self) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait(10)
        assert self._child.stdout is not None
        self._child.stdout.close()


@contextmanager
def recording_atlas(directory: Path, host: str = "127.0.0.1", port: int = 0) -> Iterator[Atlas]:
    """Run an atlas that keeps its records in the directory."""
    path = directory / "deliveries.jsonl"
    path.touch()
    command = (sys.executable, "-m", "tests.recorder.atlas", host, str(port), str(path))
    child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atlas = Atlas(child, host, path)
    try:
        yield atlas
    finally:
        atlas.close()
