"""The linter that marvin runs, within the time limit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import MarvinError, OutOfTime
from .publishing import PUBLISH_SECONDS

DEFAULT_TIME_LIMIT = 1500
"""Seconds, as in the wire contract; the variable TIME_LIMIT sets another."""

BATCH = 500
"""Files for one call of ruff; their names are far shorter than the limit of an argument list."""

KEPT_VARIABLES = frozenset({"PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "LANG", "LC_ALL"})
"""What ruff gets of marvin's environment. The others may be secrets."""

_UNREADABLE = "E902"
_CHECK = ("check", "--output-format", "json", "--exit-zero", "--select")

Document = dict[str, Any]


class Deadline:
    """When the work must end. At most PUBLISH_SECONDS of the time limit are reserved for publishing."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._limit = float(environ.get("TIME_LIMIT") or DEFAULT_TIME_LIMIT)
        self._end = time.monotonic() + self._limit - min(PUBLISH_SECONDS, self._limit / 10)

    def left(self) -> float:
        """Seconds until the deadline. Raises OutOfTime after it."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.passed()
        return left

    def passed(self) -> OutOfTime:
        """The error to raise after the deadline."""
        return OutOfTime(f"It was not done within the time limit of {self._limit:.0f} s.")


class Ruff:
    """Runs ruff on the code. Ignores the settings for ruff that the repository has."""

    def __init__(self, code: Path, target: str, environ: Mapping[str, str]) -> None:
        places = (Path(sys.executable).parent, environ.get("TOOLBOX_PATH"), environ.get("PATH"))
        found = shutil.which("ruff", path=os.pathsep.join(str(place) for place in places if place))
        if not found:
            raise MarvinError("ruff is not installed beside Python, in the toolbox or on the PATH.")
        self._program = found
        self._code = code
        self._target = target
        self._deadline = Deadline(environ)

    def diagnostics(self, paths: Sequence[str], rules: Iterable[str]) -> list[Document]:
        """What it finds, in its own form (docs.astral.sh/ruff, output format `json`)."""
        selected = ",".join([_UNREADABLE, *(rule for rule in rules if rule != "invalid-syntax")])
        found: list[Document] = []
        for batch in _batches(paths):
            ended = self._run(batch, *_CHECK, selected)
            if ended.returncode:
                raise MarvinError(f"ruff failed: {ended.stderr.strip() or ended.returncode}")
            found += json.loads(ended.stdout)
        return found

    def change(self, paths: Sequence[str], *command: str) -> list[str]:
        """Run a command that changes files. Gives the lines of its standard error."""
        complaints = []
        for batch in _batches(paths):
            complaints += self._run(batch, *command).stderr.splitlines()
        return complaints

    def _run(self, paths: Sequence[str], *command: str) -> subprocess.CompletedProcess[str]:
        flags = ("--isolated", "--no-cache", "--target-version", self._target)
        try:
            return subprocess.run(
                [self._program, *command, *flags, "--", *paths],
                cwd=self._code,
                env={name: value for name, value in os.environ.items() if name in KEPT_VARIABLES},
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
                timeout=self._deadline.left(),
            )
        except subprocess.TimeoutExpired as error:
            raise self._deadline.passed() from error


def _batches(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    return (paths[start : start + BATCH] for start in range(0, len(paths), BATCH))
