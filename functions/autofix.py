"""`autofix_run`: fix the given issues, in one job."""

from __future__ import annotations

from functions.http.application import application
from runner.request_types import REQUEST_TYPES

app = application(REQUEST_TYPES["autofix_run"])
