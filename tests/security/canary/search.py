"""Looks for markers: as they are, in base64, and in everything that runs on this machine."""

from __future__ import annotations

import base64
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

JOBS_OWN = (b"RESULT_RMQ_TASK=", b"HOST_KEYS=")
"""Variables that only the processes of a job have."""

INTERVAL_SECONDS = 0.1


class Finder:
    """Finds markers in text, and counts what it has read."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places
        self._markers: dict[str, str] = {}
        self._known = 0
        self.read: Counter[str] = Counter()
        """Characters, by kind of place."""
        self.found: dict[str, set[str]] = {}
        """By kind of place: which field's marker was found, and near what."""

    def search(self, kind: str, text: str, where: str = "") -> None:
        """Search one text."""
        self.read[kind] += len(text)
        self.found.setdefault(kind, set())
        for match in self._matches(text):
            field = self._places[self._markers[match[0]]]
            near = text[max(0, match.start() - 60) : match.start()].replace("\n", " ")
            self.found[kind].add(f"{field} in {where or kind} after {near!r}")

    def contained(self, text: str) -> set[str]:
        """The fields whose markers are in the text, without counting it."""
        return {self._places[self._markers[match[0]]] for match in self._matches(text)}

    def _matches(self, text: str) -> Iterator[re.Match[str]]:
        if self._known != len(self._places):  # a run has markers of its own
            self._known = len(self._places)
            self._markers = {form: marker for marker in self._places for form in _forms(marker)}
            self._pattern = re.compile("|".join(map(re.escape, sorted(self._markers, key=len, reverse=True))))
        return self._pattern.finditer(text)


def _forms(marker: str) -> Iterable[str]:
    """The marker itself, and what it looks like within base64, at each of the three offsets."""
    yield marker
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + marker.encode()).decode().rstrip("=")
        yield encoded[4 if offset else 0 : -2]


class ProcessWatch:
    """Reads the arguments and the environment of every process of this machine, ten times a second."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.arguments: dict[bytes, str] = {}
        """Of the processes that are no job's own, with what they are."""
        self.environments: dict[bytes, str] = {}
        self.own: set[bytes] = set()
        """The environments of the jobs' own processes: the markers must be in there, else nothing was tried."""
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL_SECONDS):
            for directory in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    self._read(directory)

    def _read(self, directory: Path) -> None:
        arguments, environment = (directory / "cmdline").read_bytes(), (directory / "environ").read_bytes()
        if any(name in environment for name in JOBS_OWN):
            self.own.add(environment)
            return
        what = arguments.replace(b"\0", b" ")[:80].decode(errors="replace")
        self.arguments[arguments] = self.environments[environment] = what
