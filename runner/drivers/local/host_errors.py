"""The errors of this host, as errors of the driver."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from runner.errors import Busy, Unavailable

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}


@contextmanager
def host_errors(directory: str, doing: str) -> Iterator[None]:
    """Raises Busy or Unavailable, with what was being done in the directory of the jobs."""
    try:
        yield
    except OSError as error:
        kind = Busy if error.errno in _FULL else Unavailable
        advice = "free resources of the host" if kind is Busy else "check the directory and its disk"
        raise kind(f"{doing} in {directory} failed: {error.strerror or error}; {advice}") from error
    except msgspec.MsgspecError as error:
        problem = f"a job's file cannot be decoded: {error}; move that job's directory away"
        raise Unavailable(f"{doing} in {directory} failed: {problem}") from error
