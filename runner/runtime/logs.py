"""Logs: one JSON object a line on standard error, with secrets masked in every field.

Whatever else a process writes there becomes such a line too: uncaught exceptions, warnings, what a library prints.
"""

from __future__ import annotations

import io
import logging
import logging.config
import os
import re
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from types import TracebackType
from typing import Any

import msgspec

from runner.security.masking import mask

LEVEL_VARIABLE = "ORCHESTRATOR_LOG_LEVEL"
DEFAULT_LEVEL = "INFO"
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}

_UNSEEN = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""What JSON allows unescaped, and a terminal obeys or hides: DEL, C1 controls, marks that reorder text (TR 9)."""

log = logging.getLogger("orchestrator.process")
_commands = logging.getLogger("orchestrator.commands")


def configure(level: str = DEFAULT_LEVEL) -> None:
    """Log from now on, and take over standard error. For the root of a process."""
    logging.config.dictConfig(settings(level))
    take_over()


def settings(level: str = DEFAULT_LEVEL) -> dict[str, Any]:
    """The settings for logging.config.dictConfig, and for gunicorn's `logconfig_dict`. `level` in any case.

    Libraries log at INFO at most: at DEBUG some write what they send and receive (hpack: the Authorization header).
    """
    level = level.upper()
    own = {"level": level, "handlers": ["stderr"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "runner.runtime.logs.JsonLines"}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.__stderr__"}
        },
        "root": {"level": "INFO" if level == "DEBUG" else level, "handlers": ["stderr"]},
        "loggers": {"orchestrator": own, "gunicorn.error": own},
    }


def level_of(environ: Mapping[str, str]) -> str:
    """The level that the variable asks for; the default one if it asks for none, or for one that does not exist."""
    level = environ.get(LEVEL_VARIABLE, "").upper()
    return level if level in _LEVELS else DEFAULT_LEVEL


def take_over() -> None:
    """Make log lines of uncaught exceptions (also in threads, destructors and at exit), warnings and prints."""
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda seen: _log_uncaught(seen.exc_type, seen.exc_value, seen.exc_traceback, seen.thread)
    sys.unraisablehook = lambda seen: _log_uncaught(
        seen.exc_type, seen.exc_value, seen.exc_traceback, seen.err_msg or "in a destructor"
    )
    sys.stderr = StandardError()


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None, where: object = None
) -> None:
    if kind is SystemExit:  # of a thread: it just ends
        return
    place = f" ({getattr(where, 'name', where)})" if where else ""
    log.critical("uncaught %s%s", kind.__name__, place, exc_info=(kind, error or kind(), trace))


def log_command(message: str, **fields: Any) -> None:
    """One line for each command, written by one write(2).

    It asks `logging` for the level only: its locks and calls cost several times as much as the line itself when a dozen
    threads write at once. So the fields must be ids and numbers, which need no mask.
    """
    if not _commands.isEnabledFor(logging.INFO):
        return
    line = {"time": _timestamp(time.time()), "level": "info", "logger": _commands.name, "message": message}
    with suppress(OSError):  # standard error is closed, which must not fail a command
        os.write(2, _escaped(_encoder.encode(line | fields)) + b"\n")


_encoder = msgspec.json.Encoder()


class JsonLines(logging.Formatter):
    """A record as one line of JSON; what was passed as `extra` becomes fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, masked."""
        fields: dict[str, Any] = {
            "time": _timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        fields.update((key, value) for key, value in record.__dict__.items() if key not in _OWN)
        if record.exc_info and record.exc_info[0]:
            fields["error"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = record.stack_info
        return _line(fields).decode()


class StandardError(io.TextIOBase):
    """In place of sys.stderr, for programs that do not log: a record for each line, and one for each traceback."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self) -> None:
        self._here = threading.local()

    def fileno(self) -> int:
        """That of standard error itself."""
        return 2

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, text: str) -> int:
        """Keep what is no whole line yet."""
        *lines, self._here.rest = (getattr(self._here, "rest", "") + text).split("\n")
        for line in lines:
            self._take(line)
        return len(text)

    def flush(self) -> None:
        """Write what is no whole line."""
        rest, self._here.rest = getattr(self._here, "rest", ""), ""
        if rest:
            self._take(rest)

    def _take(self, line: str) -> None:
        """A traceback's last line is the first that is not indented."""
        frames: list[str] = getattr(self._here, "frames", [])
        if line.startswith("Traceback (most recent call last)") or (frames and line[:1] in " \t"):
            self._here.frames = [*frames, line]
            return
        self._here.frames = []
        if line.strip():
            trace = {"error": "\n".join([*frames, line])} if frames else {}
            self._put(line, trace)

    @staticmethod
    def _put(line: str, trace: dict[str, str]) -> None:
        fields = {"time": _timestamp(time.time()), "level": "error", "logger": "stderr", "message": line, **trace}
        with suppress(OSError):
            os.write(2, _line(fields) + b"\n")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # the arguments do not fit the text, or one of them cannot be printed
        return str(record.msg)


def _line(fields: dict[str, Any]) -> bytes:
    """One line. Strings are masked before they are encoded: a key's lines are recognized as lines."""
    return _escaped(_encoder.encode(_masked(msgspec.json.decode(_encoded(fields)))))


def _encoded(fields: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(fields, enc_hook=repr)
    except (TypeError, ValueError, OverflowError, RecursionError):
        # A file name that is not UTF-8 (it has a lone surrogate), a key that is not a string: written escaped.
        return msgspec.json.encode({name: ascii(value) for name, value in fields.items()})


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {mask(key): _masked(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_masked(each) for each in value]
    return value


def _escaped(line: bytes) -> bytes:
    r"""The line of JSON with `\uXXXX` for characters that a terminal obeys."""
    if line.isascii() and b"\x7f" not in line:
        return line
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", line.decode()).encode()


def _timestamp(seconds: float) -> str:
    return f"{_to_the_second(int(seconds))}.{int(seconds % 1 * 1000):03d}Z"


@lru_cache(maxsize=2)
def _to_the_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
