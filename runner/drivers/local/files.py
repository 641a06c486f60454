"""The local driver's directory: its files, the lock that guards each, and when each is written. Standard library only.

    {directory}/.slots/{n}                 flock: held by a shim that runs jobs, or by a process that starts one
               /.queue/{created}.{name}    empty file: this job may be waiting
               /.making/{name}             flock: the holder creates that job; no other process resolves its secrets
               /.new-…, .gone-…            a job that is being created, or removed
               /.late                      touched when a job is cancelled that had ended, or its result is sent again
               /.tracker                   flock: held by the active tracker
               /{name}/lock                flock: a process runs, ends or removes this job
                      /job.json            what to run and what to report; never changes
                      /secrets.json        the secrets' values, until the job has begun or ended
                      /begun.json          written before the first container is started
                      /verdict.json        written once: the cancellation or the limit that ended the job, or neither
                      /end.json            how it ended
                      /reported.json       atlas has accepted the result, or the result was set aside
                      /cancelled.json      written once: a cancellation that came after the end
                      /confirmed.json      as reported.json, for that cancellation
                      /resent.json         how often the result was asked for again: marks made before do not count
                      /init.log, main.log  what the containers printed, without secrets
                      /root/               the containers' file system, until the end

A job's directory is filled under a dot-name and then renamed, so the name is the lock between submitters. Every file
in it appears complete. A job waits until `begun.json` exists, and is running for as long as `lock` is held after that.
A job that has begun and not ended, and whose lock is free, has lost its shim and every process that the shim started,
since the keeper of a container holds the lock too. Such a job is disrupted. It never runs again, since it may have
published its result already.

`verdict.json` settles the race between a cancellation and the end of the job: link(2) lets only one of them create it.
A process that takes the lock of a waiting job runs or ends it, so a process that finds the lock held need not retry.

The shim imports this module without site-packages and must start fast, hence plain strings for paths and no `typing`.
"""

from __future__ import annotations

import errno
import json
import os
import time
from contextlib import suppress

from . import locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

SLOTS, QUEUE, MAKING = ".slots", ".queue", ".making"
NEW, GONE, LATE, TRACKER = ".new-", ".gone-", ".late", ".tracker"
LOCK, JOB, SECRETS, BEGUN = "lock", "job.json", "secrets.json", "begun.json"
VERDICT, END, REPORTED, ROOT = "verdict.json", "end.json", "reported.json", "root"
CANCELLED, CONFIRMED, RESENT = "cancelled.json", "confirmed.json", "resent.json"


def prepare(directory: str) -> None:
    """Create the directory itself and the subdirectories that all jobs share."""
    with suppress(FileExistsError):
        os.makedirs(os.path.dirname(directory))
    for part in ("", SLOTS, QUEUE, MAKING):
        with suppress(FileExistsError):
            _mkdir(os.path.join(directory, part))


def probe(directory: str) -> None:
    """Raises OSError unless a job can be created here."""
    temporary = os.path.join(directory, f"{NEW}{token()}")
    _mkdir(temporary)
    try:
        write_once(os.path.join(temporary, VERDICT), None)
        with locks.locked(os.path.join(temporary, LOCK), make=True):
            pass
    finally:
        remove(temporary)


def make(directory: str, name: str, files: Mapping[str, bytes]) -> bool:
    """Create a job's directory with these files, atomically and durably. False if the name is taken."""
    temporary = os.path.join(directory, f"{NEW}{name}-{token()}")
    _mkdir(temporary)
    try:
        for file, content in files.items():
            _put(os.path.join(temporary, file), content)
        _put(os.path.join(temporary, LOCK), b"")
        _sync(temporary)
        os.rename(temporary, os.path.join(directory, name))
    except OSError as error:
        remove(temporary)
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise
    _sync(directory)
    return True


def remove(path: str) -> None:
    """Remove a tree or a file. Directories may be unwritable, or nested deeper than the longest possible path.

    So each directory is moved up to the top before it is read. A path that does not exist is no error.
    """
    if os.path.islink(path) or not os.path.isdir(path):
        unlink(path)
        return
    directories = [path]
    for directory in directories:  # the loop appends to this list
        os.chmod(directory, 0o700)
        with os.scandir(directory) as found:
            entries = list(found)
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)  # renaming a directory needs write permission for it
            directories.append(os.path.join(path, token()))
            os.rename(entry.path, directories[-1])
    for directory in reversed(directories):
        os.rmdir(directory)


def remove_job(directory: str, name: str) -> None:
    """Remove a job whose lock is held. The name is free at once; raises OSError if the files cannot be removed."""
    renamed = os.path.join(directory, f"{GONE}{name}-{token()}")
    os.rename(os.path.join(directory, name), renamed)
    remove(renamed)


def leftovers(directory: str, age: float) -> Iterator[str]:
    """Paths that a crash left: unfinished for `age` seconds, partly removed, or without a job.

    Ages come from the file system, which uses the host's clock, so they are compared with that clock alone.
    """
    before = time.time() - age
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if name.startswith(GONE) or (name.startswith(NEW) and _modified(path) < before):
            yield path
    for entry in os.listdir(os.path.join(directory, QUEUE)):
        path = os.path.join(directory, QUEUE, entry)
        if not os.path.exists(os.path.join(directory, name_of(entry))) and _modified(path) < before:
            yield path
    for name in os.listdir(os.path.join(directory, MAKING)):
        path = os.path.join(directory, MAKING, name)
        if _modified(path) < before:
            with locks.locked(path) as idle:
                if idle:
                    yield path


def read(path: str) -> Any:
    """The JSON in a file, or None if there is no such file."""
    try:
        with open(path, "rb") as file:
            return json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None


def write(path: str, content: Any) -> None:
    """Replace a file by this JSON, atomically and durably."""
    temporary = f"{path}.{token()}"
    _put(temporary, json.dumps(content).encode())
    os.rename(temporary, path)
    _sync(os.path.dirname(path))


def write_once(path: str, content: Any) -> bool:
    """Create a file with this JSON, atomically and durably. False if it exists: the first writer decides."""
    temporary = f"{path}.{token()}"
    _put(temporary, json.dumps(content).encode())
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    _sync(os.path.dirname(path))
    return True


def take_slot(directory: str, parallelism: int) -> int | None:
    """The locked descriptor of a free slot, or None if all slots are taken."""
    for number in range(parallelism):
        slot = locks.lock(os.path.join(directory, SLOTS, str(number)), make=True)
        if slot is not None:
            return slot
    return None


def enqueue(directory: str, name: str, created: float) -> None:
    """Add a job to the queue, where shims find it. Called before the job is created, so a crash leaves no job out."""
    entry = os.path.join(directory, QUEUE, f"{int(created * 1e6):020d}.{name}")
    os.close(os.open(entry, os.O_WRONLY | os.O_CREAT, 0o600))


def queued(directory: str) -> list[str]:
    """The queue's entries, oldest first."""
    return sorted(os.listdir(os.path.join(directory, QUEUE)))


def name_of(entry: str) -> str:
    """The name of the job of a queue entry."""
    return entry.partition(".")[2]


def is_waiting(path: str) -> bool:
    """Whether the job in that directory exists and has neither begun nor ended."""
    exists, begun, ended = (os.path.exists(os.path.join(path, file)) for file in (LOCK, BEGUN, END))
    return exists and not begun and not ended


def end_if_over(path: str, now: float) -> bool:
    """Write the end of a job that is over but has no end.json. Its lock is held; `now` is in seconds since the epoch.

    A job is over if its shim died, if it was cancelled or ended while it waited, or if it waited too long. True if the
    job has ended, for any reason.
    """
    if os.path.exists(os.path.join(path, END)):
        remove_working_tree(path)
        return True
    if os.path.exists(os.path.join(path, BEGUN)):
        end(path, now, disrupted=True, message="the process that ran the job was killed, or the host went down")
    elif verdict := read(os.path.join(path, VERDICT)):
        end(path, now, message="cancelled before it began" if verdict["cancellation"] else "ended before it began")
    elif waited_too_long(job := read(os.path.join(path, JOB))):
        end(path, now, unschedulable=f"no slot became free within {job['queue_seconds']} s; raise local.parallelism")
    else:
        return False
    return True


def end(path: str, now: float, **facts: Any) -> None:
    """Write how a job ended, once, and remove its secrets and its working tree. Its lock is held."""
    write_once(os.path.join(path, VERDICT), {"cancellation": None})
    unlink(os.path.join(path, SECRETS))
    write(os.path.join(path, END), {"phase": "failed", "ended": now, **facts})
    remove_working_tree(path)


def remove_working_tree(path: str) -> None:
    """Remove an ended job's working tree, which may be large and hold keys. Files left are removed with the job."""
    with suppress(OSError):
        remove(os.path.join(path, ROOT))


def unlink(path: str) -> None:
    """Remove a file, if it exists."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def timestamps(now: float) -> dict[str, Any]:
    """When a job was created, by two clocks: its age stays known if the wall clock is set later."""
    return {"created": now, "boot": _boot(), "monotonic": time.monotonic()}


def waited_too_long(job: Mapping[str, Any]) -> bool:
    """Whether a job has waited longer than it may: by the monotonic clock, or by the wall clock after a reboot."""
    same_boot = job["boot"] == _boot()
    waited = time.monotonic() - job["monotonic"] if same_boot else time.time() - job["created"]
    return bool(waited > job["queue_seconds"])


def _modified(path: str) -> float:
    """Seconds since the epoch; infinity for a file that is gone, so that it never counts as old."""
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return float("inf")


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def token() -> str:
    """A random name, for temporary files and for the nonce of a job."""
    return os.urandom(8).hex()


def _mkdir(path: str) -> None:
    """Create a directory that only this user can access, whatever the umask."""
    os.mkdir(path, 0o700)
    os.chmod(path, 0o700)


def _put(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
