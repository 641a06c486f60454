"""The local driver's shim: a small process that outlives the process that started it, and runs jobs one by one.

    python -I -S shim.py {directory} {parallelism} {descriptor of the slot's lock}

A shim holds one of `parallelism` locks, its slot, until it ends. So at most that many jobs run at once, and no process
waits for a slot. The shim takes the oldest waiting job, runs it, takes the next, and ends when no job waits. No job is
left waiting for ever:

1. A slot is held only by a shim, or by a submitter that is starting a shim, which inherits the locked descriptor. So
   the holder of a slot is going to read the queue.
2. A submitter creates its job first and tries to take a slot after that. If all slots are taken, one of their holders
   must read the queue after the job was created.
3. A shim that finds no job releases its slot first and reads the queue once more after that. If this second read
   precedes the job, so does the release, and the submitter finds the slot free. If it follows the job, the shim finds
   the job and takes a slot again. If all slots are taken by then, 1 holds for the new holders.
4. A process killed between these steps leaves a free slot and a waiting job. The next submit and every other shim find
   the job in the queue; `reconcile` finds it by reading all jobs.

The job's lock, not the slot, makes it run at most once; see `files`, which also describes all files.

The shim is started by its path and without site-packages, so it depends neither on the environment nor on the working
directory nor on installed packages. Under systemd the unit needs `KillMode=process`, or the shims end with the service.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    if os.fork():  # before the imports, to be fast: the starter waits for this process; the child runs on
        os._exit(0)
    # The packages around this file import libraries that are missing without site-packages. So this file's folder
    # becomes a package of its own, for the relative imports below.
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
"""Seconds before the queue is read again: another process may be beginning or ending the job at this moment."""


def main(directory: str, parallelism: int, slot: int) -> None:
    """Run jobs until none waits. `slot` is the descriptor of the slot's lock, which is held already."""
    os.set_inheritable(slot, False)
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    keeper.become_subreaper()
    held: int | None = slot
    while held is not None:
        while (claimed := _claim(directory)) is not None:
            _run_job(*claimed)
        os.close(held)
        held = None
        if _any_waits(directory):
            time.sleep(RECHECK_SECONDS)
            held = files.take_slot(directory, parallelism)


def _any_waits(directory: str) -> bool:
    names = map(files.name_of, files.queued(directory))
    return any(files.is_waiting(os.path.join(directory, name)) for name in names)


def _claim(directory: str) -> tuple[str, int] | None:
    """Begin the oldest waiting job. Gives its directory and the descriptor that holds its lock, or None."""
    for entry in files.queued(directory):
        path = os.path.join(directory, files.name_of(entry))
        lock = locks.lock(os.path.join(path, files.LOCK))
        if lock is None:
            continue  # another process holds it, or it is still being created
        begun = _begin(path)
        files.unlink(os.path.join(directory, files.QUEUE, entry))
        if begun:
            return path, lock
        os.close(lock)
    return None


def _begin(path: str) -> bool:
    """Write begun.json, unless the job has ended or cannot be read. Its lock is held."""
    try:
        if files.end_if_over(path, time.time()):
            return False
    except (ValueError, KeyError, TypeError) as error:
        _log_error(path, error)
        return False
    files.write(os.path.join(path, files.BEGUN), {"at": time.time(), "shim": os.getpid()})
    return True


def _run_job(path: str, lock: int) -> None:
    """Run a job that has begun, write its end, whatever happens, and release its lock."""
    try:
        facts = _run_containers(path)
    except Exception as error:  # a full disk, or an internal error: the job must end with a reason nevertheless
        _log_error(path, error)
        facts = {"message": f"the job could not be run: {error!r}"}
    try:
        files.end(path, time.time(), **facts)
    except OSError as error:
        _log_error(path, error)
        files.remove_working_tree(path)  # it may be what fills the disk
        files.end(path, time.time(), **facts)
    os.close(lock)


def _run_containers(path: str) -> dict[str, Any]:
    """Run the containers of a job one by one. Gives the fields of its end.json."""
    job = files.read(os.path.join(path, files.JOB))
    secrets = files.read(os.path.join(path, files.SECRETS)) or {}
    files.unlink(os.path.join(path, files.SECRETS))
    for directory in job["directories"]:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    facts: dict[str, Any] = {}
    for program in job["containers"]:
        ended = _run_program(path, program, secrets)
        facts |= {f"{program['role']}_exit": ended.code, **_explain(path, program, ended)}
        if ended.stopped or ended.code != 0:
            return facts
    return {**facts, "phase": "succeeded"}


def _run_program(path: str, program: Mapping[str, Any], secrets: Mapping[str, str]) -> container.Exit:
    verdict = os.path.join(path, files.VERDICT)
    if os.path.exists(verdict):
        return container.Exit(None, stopped="cancelled")
    output_log = ContainerLog(os.path.join(path, f"{program['role']}.log"), secrets.values())
    try:
        return container.run(
            [_text(part, secrets) for part in program["argv"]],
            {name: _text(value, secrets) for name, value in program["env"].items()},
            directory=program["directory"],
            output_log=output_log,
            seconds=program["seconds"],
            cancelled=lambda: os.path.exists(verdict),
        )
    finally:
        output_log.close()


def _text(text: Any, secrets: Mapping[str, str]) -> str:
    """A string as it is; for `{"name": …}` the value of that secret."""
    return str(text if isinstance(text, str) else secrets[text["name"]])


def _explain(path: str, program: Mapping[str, Any], ended: container.Exit) -> dict[str, Any]:
    """The fields of end.json that explain a container's end, beside the exit code. The most certain row comes first."""
    what = f"the {program['role']} container ({program['name']})"
    table: tuple[tuple[bool, dict[str, Any]], ...] = (
        (ended.stopped == "cancelled", {"message": f"{what} was stopped by {_decision(path)}"}),
        (ended.stopped != "", {"timed_out": True, "message": f"{what} ran longer than {program['seconds']} s"}),
        (ended.error != "", {"configuration_error": f"{what}: {ended.error}; correct local.images"}),
        (ended.code is None, {"disrupted": True, "message": f"the keeper of {what} was killed"}),
        (ended.out_of_memory, {"out_of_memory": True, "message": f"the kernel killed {what} for memory"}),
        (ended.code == 137, {"message": f"{what} was killed (SIGKILL), but not by the driver"}),
        (True, {}),
    )
    explained = next(facts for holds, facts in table if holds)
    return explained if ended.code == 0 and not ended.stopped else {"container": program["name"], **explained}


def _decision(path: str) -> str:
    """Why verdict.json stops the job."""
    outcome = (files.read(os.path.join(path, files.VERDICT)) or {}).get("outcome")
    return f"the tracker ({outcome['reason']})" if outcome else "a cancellation"


def _log_error(path: str, error: Exception) -> None:
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {path}: {error!r}", file=sys.stderr, flush=True)  # noqa: T201  (a log)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
