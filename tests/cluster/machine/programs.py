"""External programs, run to completion."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from tests.cluster.errors import ClusterError

_TAIL = 4000  # characters of a failed program's output in the error


def run(
    *argv: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """Run the program and return its standard output. `env` adds to the environment.

    Raises ClusterError with the end of its output when it fails or isn't there.
    """
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise ClusterError(f"{argv[0]} can't be run: {error}") from error
    if done.returncode:
        raise ClusterError(failure(argv, done.returncode, done.stdout + done.stderr))
    return done.stdout


def failure(argv: Sequence[str | Path], code: int, output: str) -> str:
    """The error message for a program that failed."""
    return f"{' '.join(map(str, argv))} ended with {code}:\n{output.strip()[-_TAIL:]}"


def load(write: Callable[[IO[bytes]], None], *argv: str | Path) -> None:
    """Run the program with its standard input written by `write`.

    Raises ClusterError with the end of its output when it fails.
    """
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=output, stderr=output) as process,
    ):
        assert process.stdin  # it is a pipe
        with suppress(BrokenPipeError):  # the program stopped reading; its output says why
            write(process.stdin)
            process.stdin.close()
        if code := process.wait():
            output.seek(0)
            raise ClusterError(failure(argv, code, output.read().decode(errors="replace")))
