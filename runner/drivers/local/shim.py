"""The local driver's shim: a small process that outlives whoever started it and runs jobs, one after the other.

    python -I -S shim.py {directory} {parallelism} {descriptor of the slot it was given}

A shim is a slot: it holds one of `parallelism` locks for as long as it lives, so no more jobs than that run at once
and no process waits for its turn. It takes the oldest job that waits, runs it, takes the next, and ends when there is
none. Why no job is left behind:

1. A slot is held only by a shim, or by a submitter that has just taken it in order to start a shim, which inherits
   the locked descriptor. So whoever holds a slot is going to look at the queue.
2. A submitter makes its job first and tries to take a slot then. If it gets none, each slot is held by somebody who
   took it before, and all that matters is that one of them looks again after the job was made.
3. A shim that finds nothing gives its slot back first and looks once more then. If that look comes before the job was
   made, so does the giving back, and the submitter has found the slot free. If it comes later, it finds the job, and
   the shim takes a slot again; if there is none, all slots have been taken since, and 1 holds for those who did.
4. A process killed in between leaves a free slot and a job that waits. Every submit and every other shim finds it in
   the queue; `reconcile` finds it by reading all jobs.

The lock of a job, not the slot, is what makes it run once: see `files`, as for everything on the disk.

Started by its path and without site-packages, it does not depend on the environment, the working directory or what is
installed. Under systemd the unit needs `KillMode=process`, or the shims end with the service.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    if os.fork():  # before anything is imported: our starter waits for this process, and nobody for the other
        os._exit(0)
    # The packages around this file would import half of us, and libraries that are not there without site-packages.
    # A package of its own, with nothing but these files in it, lets them find each other all the same.
    __package__ = "orchestrator_local"
    _package = type(sys)(__package__)
    _package.__path__ = [os.path.dirname(os.path.abspath(__file__))]
    sys.modules[__package__] = _package

import signal
import time

from . import container, files, keeper, locks
from .container_log import ContainerLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

RECHECK_SECONDS = 0.02
"""Before the queue is read again: another process may just be beginning or ending a job."""


def main(directory: str, parallelism: int, slot: int) -> None:
    """Run jobs until none waits. `slot` is the descriptor of a slot that is locked already."""
    os.set_inheritable(slot, False)
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    keeper.adopt()
    held: int | None = slot
    while held is not None:
        while (claimed := _claim(directory)) is not None:
            _work(*claimed)
        os.close(held)
        held = None
        if _any_waits(directory):
            time.sleep(RECHECK_SECONDS)
            held = files.take_slot(directory, parallelism)


def _any_waits(directory: str) -> bool:
    names = map(files.name_of, files.queued(directory))
    return any(files.waits(os.path.join(directory, name)) for name in names)


def _claim(directory: str) -> tuple[str, int] | None:
    """The oldest job that waits, now begun: its directory, and the descriptor that holds its lock."""
    for entry in files.queued(directory):
        path = os.path.join(directory, files.name_of(entry))
        lock = locks.lock(os.path.join(path, files.LOCK))
        if lock is None:
            continue  # somebody is at it, or it is only just being made
        begun = _begin(path)
        files.dequeue(directory, entry)
        if begun:
            return path, lock
        os.close(lock)
    return None


def _begin(path: str) -> bool:
    """Mark a job as begun, unless it has ended or can't be read. Its lock is held."""
    try:
        if files.end_if_over(path, time.time()):
            return False
    except (ValueError, KeyError, TypeError) as error:
        _say(path, error)
        return False
    files.write(os.path.join(path, files.BEGUN), {"at": time.time(), "shim": os.getpid()})
    return True


def _work(path: str, lock: int) -> None:
    """Run a job that has begun, and say how it ended, whatever happens."""
    try:
        facts = _run(path)
    except Exception as error:  # a full disk, or an internal error: the job must end with a reason all the same
        _say(path, error)
        facts = {"message": f"the job could not be run: {error!r}"}
    try:
        files.end(path, time.time(), **facts)
    except OSError as error:
        _say(path, error)
        files.clear(path)  # which may be what fills the disk
        files.end(path, time.time(), **facts)
    os.close(lock)


def _run(path: str) -> dict[str, Any]:
    """Run the containers of a job, one after the other, and give the facts of its end."""
    job = files.read(os.path.join(path, files.JOB))
    secrets = files.read(os.path.join(path, files.SECRETS)) or {}
    files.forget(os.path.join(path, files.SECRETS))
    for directory in job["directories"]:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    facts: dict[str, Any] = {}
    for program in job["containers"]:
        ended = _run_program(path, program, secrets)
        facts |= {f"{program['role']}_exit": ended.code, **_explain(program, ended)}
        if ended.stopped or ended.code != 0:
            return facts
    return {**facts, "phase": "succeeded"}


def _run_program(path: str, program: Mapping[str, Any], secrets: Mapping[str, str]) -> container.Exit:
    verdict = os.path.join(path, files.VERDICT)
    if os.path.exists(verdict):
        return container.Exit(None, stopped="cancelled")
    log = ContainerLog(os.path.join(path, f"{program['role']}.log"), secrets.values())
    try:
        return container.run(
            [_text(part, secrets) for part in program["argv"]],
            {name: _text(value, secrets) for name, value in program["env"].items()},
            directory=program["directory"],
            log=log,
            seconds=program["seconds"],
            cancelled=lambda: os.path.exists(verdict),
        )
    finally:
        log.close()


def _text(text: Any, secrets: Mapping[str, str]) -> str:
    """A string as it is, or the secret that `{"name": …}` stands for."""
    return str(text if isinstance(text, str) else secrets[text["name"]])


def _explain(program: Mapping[str, Any], ended: container.Exit) -> dict[str, Any]:
    """What is known of an end besides the exit code; most certain first."""
    what = f"the {program['role']} container ({program['name']})"
    table: tuple[tuple[bool, dict[str, Any]], ...] = (
        (ended.stopped == "cancelled", {"message": f"{what} was stopped by a cancellation"}),
        (ended.stopped != "", {"timed_out": True, "message": f"{what} ran longer than {program['seconds']} s"}),
        (ended.error != "", {"configuration_error": f"{what}: {ended.error}; see local.images"}),
        (ended.code is None, {"disrupted": True, "message": f"the keeper of {what} was killed"}),
        (ended.out_of_memory, {"out_of_memory": True, "message": f"the kernel killed {what} for memory"}),
        (ended.code == 137, {"message": f"{what} was killed (SIGKILL), and not by us"}),
        (True, {}),
    )
    return next(facts for holds, facts in table if holds)


def _say(path: str, error: Exception) -> None:
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {path}: {error!r}", file=sys.stderr, flush=True)  # noqa: T201  (a log)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
