"""Starts shims: the processes that run jobs, one for each slot. They outlive the process that starts them."""

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
"""How long to wait for a shim to detach from the process that starts it. A slower shim goes on starting."""

SHIM_LOG, SHIM_LOG_LIMIT = ".shim.log", 1 << 20
"""The file for the shims' standard error, and the bytes above which it is truncated when a shim starts."""

_SHIM = str(Path(__file__).with_name("shim.py"))


class Shims:
    """At most `parallelism` shims for one directory. All processes on the host share the slots' locks."""

    def __init__(self, directory: str, parallelism: int, python: str) -> None:
        self._directory = directory
        self._parallelism = parallelism
        self._python = python

    def restart(self, waiting: Sequence[JobFile]) -> None:
        """Put waiting jobs into the queue again, and start shims for them while slots are free."""
        try:
            for job in waiting:
                files.enqueue(self._directory, job.name, job.created)
        except OSError as error:
            log.warning("a waiting job could not be put into the queue of %s: %s; retrying", self._directory, error)
        for _ in waiting:
            if not self.start():
                return

    def start(self) -> bool:
        """Start a shim if a slot is free. A failure is logged and not raised, since the job exists and waits."""
        try:
            slot = files.take_slot(self._directory, self._parallelism)
            if slot is None:
                return False
            try:
                self._spawn(slot)
            finally:
                os.close(slot)
        except OSError as error:
            log.error("no shim could be started in %s: %s; its jobs wait until one can", self._directory, error)
            return False
        return True

    def _spawn(self, slot: int) -> None:
        """Start a shim that inherits the slot's locked descriptor and no other."""
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
                log.error("a shim in %s failed to start; read %s", self._directory, path)


def environment() -> dict[str, str]:
    """The environment of shims and programs: two variables of this process, and no others."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": os.environ.get("LANG", "C.UTF-8")}


def _open_shim_log(path: str, flags: int) -> int:
    descriptor = os.open(path, flags, 0o600)
    if os.fstat(descriptor).st_size > SHIM_LOG_LIMIT:
        os.ftruncate(descriptor, 0)
    return descriptor
