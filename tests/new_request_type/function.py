"""The function, as a file of `functions/` would have it, and all functions in one application."""

from __future__ import annotations

from functions.http.application import application
from runner.request_types import REQUEST_TYPES
from tests.new_request_type.row import ECHO

REQUEST_TYPES[ECHO.name] = ECHO

app = application(REQUEST_TYPES["echo_run"])
bundle = application(*REQUEST_TYPES.values())
