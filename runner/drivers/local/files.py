"""The local driver's directory: what lies where, which lock guards it, and who writes it when. Standard library only.

    {directory}/.slots/{n}                 flock: a shim works, or is just being started
               /.queue/{created}.{name}    empty; says that this job may be waiting
               /.making/{name}             flock: the holder makes that job; nobody else resolves its secrets
               /.new-…, .gone-…            a job that is being made, or removed
               /{name}/lock                flock: somebody runs, ends or removes this job
                      /job.json            what to run and what to tell of it; never changes
                      /secrets.json        the secrets' values, until the job has begun or ended
                      /begun.json          made before the first container is started
                      /verdict.json        made once: was the end decided by a cancellation (its report) or not (null)
                      /end.json            how it ended
                      /reported.json       atlas has been told
                      /init.log, main.log  what the containers printed, without secrets
                      /root/               what the containers take for /, until the end

A job's directory is made whole under a dot-name and then renamed, so the name is the lock between submitters. Every
file in it appears whole. A job waits until `begun.json` is there, and is running for as long as `lock` is held after
that. Begun, not ended and the lock free means that its shim is dead and everything it ran as well (the keeper of a
container holds the lock too): such a job is disrupted and never run again, since it may have published already.

`verdict.json` settles the race between a cancellation and the end of the job: link(2) lets only one of them make it.
Whoever takes the lock of a job that waits runs it or ends it, so nobody need look again because a lock was held.

The shim imports this without site-packages and in a hurry, hence plain strings for paths and no `typing`.
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
NEW, GONE = ".new-", ".gone-"
LOCK, JOB, SECRETS, BEGUN = "lock", "job.json", "secrets.json", "begun.json"
VERDICT, END, REPORTED, ROOT = "verdict.json", "end.json", "reported.json", "root"


def prepare(directory: str) -> None:
    """Make the directory itself, with what all jobs share."""
    with suppress(FileExistsError):
        os.makedirs(os.path.dirname(directory))
    for part in ("", SLOTS, QUEUE, MAKING):
        with suppress(FileExistsError):
            _mkdir(os.path.join(directory, part))


def probe(directory: str) -> None:
    """Raises OSError unless a job could be made here."""
    temporary = os.path.join(directory, f"{NEW}{_token()}")
    _mkdir(temporary)
    try:
        write_once(os.path.join(temporary, VERDICT), None)
        with locks.locked(os.path.join(temporary, LOCK), make=True):
            pass
    finally:
        remove(temporary)


def make(directory: str, name: str, files: Mapping[str, bytes]) -> bool:
    """Make a job's directory with these files, all at once and durably. False where the name is taken."""
    temporary = os.path.join(directory, f"{NEW}{name}-{_token()}")
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
    """Remove a tree, or a file. Directories may be unwritable, and deeper than a path can name.

    That is why every directory is moved up to the top before it is looked into. What is gone already is no error.
    """
    if os.path.islink(path) or not os.path.isdir(path):
        forget(path)
        return
    directories = [path]
    for directory in directories:  # grows on the way
        os.chmod(directory, 0o700)
        with os.scandir(directory) as found:
            entries = list(found)
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)  # to move a directory is to write to it
            directories.append(os.path.join(path, _token()))
            os.rename(entry.path, directories[-1])
    for directory in reversed(directories):
        os.rmdir(directory)


def discard(directory: str, name: str) -> None:
    """Remove a job whose lock is held. The name is free at once; raises OSError where the rest can't be removed."""
    doomed = os.path.join(directory, f"{GONE}{name}-{_token()}")
    os.rename(os.path.join(directory, name), doomed)
    remove(doomed)


def leftovers(directory: str, age: float) -> Iterator[str]:
    """What a crash has left: not finished for so many seconds, half removed, or of use to no job.

    The file system's clock says how old a file is, so it is compared with the host's and with no other.
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
    """The JSON in a file, or None where there is no such file."""
    try:
        with open(path, "rb") as file:
            return json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None


def write(path: str, content: Any) -> None:
    """Put JSON into a file, whole and durably, in place of what was there."""
    temporary = f"{path}.{_token()}"
    _put(temporary, json.dumps(content).encode())
    os.rename(temporary, path)
    _sync(os.path.dirname(path))


def write_once(path: str, content: Any) -> bool:
    """Put JSON into a file that is not there yet, whole and durably. False where it is: who is first decides."""
    temporary = f"{path}.{_token()}"
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
    """The descriptor of a slot that was free, or None."""
    for number in range(parallelism):
        slot = locks.lock(os.path.join(directory, SLOTS, str(number)), make=True)
        if slot is not None:
            return slot
    return None


def enqueue(directory: str, name: str, created: float) -> None:
    """Let shims find a job that waits. Called before the job is there, so that no crash comes between."""
    entry = os.path.join(directory, QUEUE, f"{int(created * 1e6):020d}.{name}")
    os.close(os.open(entry, os.O_WRONLY | os.O_CREAT, 0o600))


def queued(directory: str) -> list[str]:
    """The queue's entries, the oldest first."""
    return sorted(os.listdir(os.path.join(directory, QUEUE)))


def dequeue(directory: str, entry: str) -> None:
    """Take away the entry of a job that waits no more."""
    forget(os.path.join(directory, QUEUE, entry))


def name_of(entry: str) -> str:
    """The job that an entry of the queue stands for."""
    return entry.partition(".")[2]


def waits(path: str) -> bool:
    """Whether the job in that directory is there and has neither begun nor ended."""
    there, begun, ended = (os.path.exists(os.path.join(path, file)) for file in (LOCK, BEGUN, END))
    return there and not begun and not ended


def end_if_over(path: str, now: float) -> bool:
    """End a job that has ended without anybody having said so. Its lock is held; `now` is in seconds since the epoch.

    That is a job whose shim died, one that was cancelled while it waited, and one that waited too long. True once
    the job has ended, for whatever reason.
    """
    if os.path.exists(os.path.join(path, END)):
        clear(path)
        return True
    if os.path.exists(os.path.join(path, BEGUN)):
        end(path, now, disrupted=True, message="the process that ran the job was killed, or the host went down")
    elif os.path.exists(os.path.join(path, VERDICT)):
        end(path, now, message="cancelled before it began")
    elif expired(job := read(os.path.join(path, JOB))):
        end(path, now, unschedulable=f"no slot became free within {job['queue_seconds']} s; raise local.parallelism")
    else:
        return False
    return True


def end(path: str, now: float, **facts: Any) -> None:
    """Write down how a job ended, for the first time, and drop what it needs no more. Its lock is held."""
    write_once(os.path.join(path, VERDICT), {"cancellation": None})
    forget(os.path.join(path, SECRETS))
    write(os.path.join(path, END), {"phase": "failed", "ended": now, **facts})
    clear(path)


def clear(path: str) -> None:
    """Remove an ended job's working tree, which may be large and hold keys. What can't be removed goes with the job."""
    with suppress(OSError):
        remove(os.path.join(path, ROOT))


def forget(path: str) -> None:
    """Remove a file that may be gone already."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def stamp(now: float) -> dict[str, Any]:
    """When a job was made, so that its age can be told even if the clock is set meanwhile."""
    return {"created": now, "boot": _boot(), "monotonic": time.monotonic()}


def expired(job: Mapping[str, Any]) -> bool:
    """Whether a job has waited longer than it may. The monotonic clock says so, or the other after a reboot."""
    same_boot = job["boot"] == _boot()
    waited = time.monotonic() - job["monotonic"] if same_boot else time.time() - job["created"]
    return bool(waited > job["queue_seconds"])


def _modified(path: str) -> float:
    """Seconds since the epoch; the end of time for what is gone, so that it is nobody's leftover."""
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return float("inf")


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def _token() -> str:
    return os.urandom(8).hex()


def _mkdir(path: str) -> None:
    """Make a directory for us alone, whatever the umask."""
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
