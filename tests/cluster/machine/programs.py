"""Other people's programs, run to their end."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from tests.cluster.errors import ClusterError

_TAIL = 4000  # characters of output worth showing when a program fails


def run(
    *argv: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """The program's standard output; `env` is laid over the environment.

    Raises ClusterError with the end of what it printed when it fails or isn't there.
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
    """What to tell about a program that failed."""
    return f"{' '.join(map(str, argv))} ended with {code}:\n{output.strip()[-_TAIL:]}"


def load(write: Callable[[IO[bytes]], None], *argv: str | Path) -> None:
    """Run the program with its standard input written by `write`.

    Raises ClusterError with the end of what it printed when it fails.
    """
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=output, stderr=output) as process,
    ):
        assert process.stdin  # as asked for
        with suppress(BrokenPipeError):  # it gave up reading, and says why
            write(process.stdin)
            process.stdin.close()
        if code := process.wait():
            output.seek(0)
            raise ClusterError(failure(argv, code, output.read().decode(errors="replace")))
