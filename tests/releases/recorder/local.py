"""Records the local driver's directory: the mode and text of every file, with a placeholder for the directory."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from recorder import release, states
from recorder.states import HALF_MADE, STATES, Recording


def record(make_config: Any) -> dict[str, Any]:
    os.environ.update(PATH="/usr/local/bin:/usr/bin:/bin", LANG="C.UTF-8")  # programs get these
    with tempfile.TemporaryDirectory() as work:
        directory = Path(work, "jobs")
        try:
            return _record(directory, make_config(driver="local"))
        finally:
            _kill_all(directory)


def _record(directory: Path, config: Any) -> dict[str, Any]:
    driver = release.local_driver(directory, states.secrets)  # the endless job keeps the only slot; the others wait
    recording = Recording(driver, driver, config, config, "shell")
    for state in STATES:
        recording.play(state)
    _half_made(recording, driver, config)
    listed = recording.listed()
    return {"placeholders": {str(directory): "{directory}"}, "states": listed, "tree": dict(_tree(directory))}


def _half_made(recording: Recording, driver: Any, config: Any) -> None:
    """A submitter killed before it renames the directory: `.new-…`, `.making/…` and an entry of the queue are left."""
    planned = states.job(HALF_MADE, config, "shell")
    recording.names[HALF_MADE.name] = planned.name
    child = os.fork()
    if child == 0:
        os.rename = lambda *_: os._exit(0)  # type: ignore[assignment]
        driver.submit(planned, release.after(states.SECONDS))
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0, "the submit went past the rename"


def _tree(directory: Path) -> Iterator[tuple[str, dict[str, str]]]:
    for path in sorted(directory.rglob("*")):
        status = path.stat()
        text = {} if path.is_dir() else {"text": path.read_text()}
        yield str(path.relative_to(directory)), {"mode": f"{status.st_mode & 0o7777:04o}", **text}


def _kill_all(directory: Path) -> None:
    """Kill the processes of the jobs, which outlive their driver on purpose."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            texts = b"".join((process / name).read_bytes() for name in ("cmdline", "environ"))
            if str(directory).encode() in texts and int(process.name) != os.getpid():
                os.kill(int(process.name), signal.SIGKILL)
