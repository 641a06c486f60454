"""Errors as problem+json (RFC 9457), with the codes that the table of errors does not have."""

from __future__ import annotations

from typing import Any

import msgspec

MEDIA = "application/problem+json"

CODE = "orchestrator.code"
"""In a WSGI environment: the code of the error that the application answers."""

REQUEST_TYPE = "orchestrator.request_type"
"""In a WSGI environment: the name of the request type, once the path has said it."""

CODES: dict[int, tuple[str, str]] = {
    400: ("malformed", "The request cannot be read"),
    404: ("not_found", "Nothing is served at this path"),
    405: ("method_not_allowed", "This path has another method"),
    408: ("request_timeout", "The request did not arrive in time"),
    411: ("length_required", "The request has a body without a length"),
    414: ("uri_too_long", "The request line is too long"),
    417: ("expectation_failed", "The expectation cannot be met"),
    431: ("headers_too_large", "The headers are too large"),
    500: ("internal", "Internal error"),
    501: ("not_implemented", "The transfer coding is not supported"),
}
"""The code and title of what the HTTP server refuses by itself, by status."""


def problem(status: int, code: str, title: str, detail: str, request_id: str, errors: Any = ()) -> bytes:
    """The body of an answer with this status."""
    fields = {
        "type": f"urn:orchestrator:error:{code}",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": request_id,
    }
    return msgspec.json.encode(fields | ({"errors": errors} if errors else {}))
