"""`cancel_check_run`: stop one analysis."""

from __future__ import annotations

from functions.http.application import application
from runner.request_types import REQUEST_TYPES

app = application(REQUEST_TYPES["cancel_check_run"])
