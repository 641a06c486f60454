"""`ssh_verify_run`: try a key against a repository, in one job."""

from __future__ import annotations

from functions.http.application import application
from runner.request_types import REQUEST_TYPES

app = application(REQUEST_TYPES["ssh_verify_run"])
