"""Runs external programs to their end."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from tests.cluster.errors import ClusterError

_TAIL = 4000  # characters of output to show if a program fails


def run(
    *argv: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """Run the program. Returns its standard output. `env` is added to the environment.

    Raises ClusterError with the end of its output if it fails or isn't installed.
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
    """The error message for a failed program: command, exit code and the end of its output."""
    return f"{' '.join(map(str, argv))} ended with {code}:\n{output.strip()[-_TAIL:]}"


def load(write: Callable[[IO[bytes]], None], *argv: str | Path) -> None:
    """Run the program with its standard input written by `write`.

    Raises ClusterError with the end of its output if it fails.
    """
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=output, stderr=output) as process,
    ):
        assert process.stdin  # because of stdin=PIPE
        with suppress(BrokenPipeError):  # the program has ended early; its output gives the reason
            write(process.stdin)
            process.stdin.close()
        if code := process.wait():
            output.seek(0)
            raise ClusterError(failure(argv, code, output.read().decode(errors="replace")))
