"""Logs: one JSON object a line on standard error, with secrets masked in every field."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from functools import lru_cache
from typing import Any

import msgspec

from runner.security.masking import mask

_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def log_command(message: str, **fields: Any) -> None:
    """One line for each command, written by one write(2).

    It does not use `logging`, whose locks and calls cost several times as much as the line itself when a dozen threads
    write at once. So the fields must be ids and numbers, which need no mask.
    """
    line = {"time": _timestamp(time.time()), "level": "info", "logger": "orchestrator.commands", "message": message}
    with suppress(OSError):  # standard error is closed, which must not fail a command
        os.write(2, _encoder.encode(line | fields) + b"\n")


_encoder = msgspec.json.Encoder()


class JsonLines(logging.Formatter):
    """A record as one line of JSON; what was passed as `extra` becomes fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, masked."""
        fields: dict[str, Any] = {
            "time": _timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields.update((key, value) for key, value in record.__dict__.items() if key not in _OWN)
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return mask(_encoded(fields).decode())


def _encoded(fields: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(fields, enc_hook=repr)
    except (TypeError, ValueError, OverflowError, RecursionError):
        # A file name that is not UTF-8 (it has a lone surrogate), a key that is not a string: written escaped.
        return msgspec.json.encode({name: ascii(value) for name, value in fields.items()})


def _timestamp(seconds: float) -> str:
    return f"{_to_the_second(int(seconds))}.{int(seconds % 1 * 1000):03d}Z"


@lru_cache(maxsize=2)
def _to_the_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def settings(level: str = "INFO") -> dict[str, Any]:
    """The settings for logging.config.dictConfig, and for gunicorn's `logconfig_dict`."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "runner.runtime.logs.JsonLines"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {"gunicorn.error": {"level": level, "handlers": ["stderr"], "propagate": False}},
    }


__all__ = ["JsonLines", "log_command", "mask", "settings"]
