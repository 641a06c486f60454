"""The values that each label may have: closed sets, so that neither a request nor a cluster can make new series.

What is in no set becomes OTHER. No label has a run's id or a job's name.
"""

from __future__ import annotations

from collections.abc import Collection

OTHER = "other"
NONE = "none"
"""Without an answer, or without a reason."""

ACCEPTED = "accepted"
PROTOCOLS = ("http", "grpc", "amqp")
VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE")

SERVER_CODES = (
    "not_found", "method_not_allowed", "request_timeout", "length_required", "uri_too_long", "expectation_failed",
    "headers_too_large", "not_implemented", "unimplemented", "unknown", "invalid_argument", "deadline_exceeded",
)  # fmt: skip
"""Codes that the servers answer by themselves, besides those of the table of errors."""


def bounded(value: str, known: Collection[str]) -> str:
    """The value if it is known, else OTHER."""
    return value if value in known else OTHER


def status(number: int | None) -> str:
    """An HTTP status as a label."""
    return NONE if number is None else str(number) if 100 <= number <= 599 else OTHER
