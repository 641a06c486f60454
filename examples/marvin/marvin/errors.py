"""The errors that become a result, and the numbers that the result has for them."""

from __future__ import annotations

STATUS_FAILED, STATUS_TIME_LIMIT = 1, 2
ERROR, WARNING, NOTE = 1, 2, 3


class MarvinError(Exception):
    """A failure with a text for people, which becomes the result's `hmessage`."""

    status = STATUS_FAILED


class OutOfTime(MarvinError):
    """The time limit is exceeded."""

    status = STATUS_TIME_LIMIT
