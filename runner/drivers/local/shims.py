"""Starting shims: the processes that run jobs, one for each slot, and outlive the process that started them."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from runner.drivers.local import files
from runner.drivers.local.record import JobFile

log = logging.getLogger("orchestrator.local")

START_SECONDS = 5.0
"""For a shim to detach from the process that starts it. A slower one is started all the same."""

SHIM_LOG, SHIM_LOG_LIMIT = ".shim.log", 1 << 20
"""What shims write to standard error. Truncated at the next start once it has so many bytes."""

_SHIM = str(Path(__file__).with_name("shim.py"))


class Shims:
    """At most `parallelism` shims for one directory, counted by locks that all processes share."""

    def __init__(self, directory: str, parallelism: int, python: str) -> None:
        self._directory = directory
        self._parallelism = parallelism
        self._python = python

    def restart(self, waiting: Sequence[JobFile]) -> None:
        """Put jobs that wait into the queue again, and start shims for them while slots are free."""
        try:
            for job in waiting:
                files.enqueue(self._directory, job.name, job.created)
        except OSError as error:
            log.warning("a job that waits could not be put into the queue again: %s", error)
        for _ in waiting:
            if not self.start():
                return

    def start(self) -> bool:
        """Start a shim if a slot is free. A failure is logged: the job has been made, and waits."""
        try:
            slot = files.take_slot(self._directory, self._parallelism)
            if slot is None:
                return False
            try:
                self._spawn(slot)
            finally:
                os.close(slot)
        except OSError as error:
            log.error("no shim could be started, so jobs wait: %s", error)
            return False
        return True

    def _spawn(self, slot: int) -> None:
        """Start a shim that inherits the slot's locked descriptor, and nothing else."""
        arguments = [self._directory, str(self._parallelism), str(slot)]
        path = os.path.join(self._directory, SHIM_LOG)
        with open(path, "ab", opener=_open_shim_log) as output:
            shim = subprocess.Popen(
                [self._python, "-I", "-S", "-X", "utf8", _SHIM, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(),
                cwd="/",
                pass_fds=(slot,),
                start_new_session=True,
            )
        with suppress(subprocess.TimeoutExpired):
            if shim.wait(START_SECONDS):
                log.error("a shim could not start; see %s", path)


def environment() -> dict[str, str]:
    """The environment of shims and programs: nothing of the driver's own but these two variables."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": os.environ.get("LANG", "C.UTF-8")}


def _open_shim_log(path: str, flags: int) -> int:
    descriptor = os.open(path, flags, 0o600)
    if os.fstat(descriptor).st_size > SHIM_LOG_LIMIT:
        os.ftruncate(descriptor, 0)
    return descriptor
