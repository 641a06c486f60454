"""The error of coat, and all errors that end it with a message instead of a traceback."""

from __future__ import annotations

from http.client import HTTPException


class CoatError(Exception):
    """What failed, in a sentence for people."""


FAILURES = (CoatError, OSError, HTTPException)
