"""`python -m tests.new_request_type MODULE ARGUMENT...`: `python -m MODULE ARGUMENT...` with one row more in the table.

Where `ECHO_CONTRACT` names a directory, the server's classes of the gRPC contract are those generated there.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

from runner.request_types import REQUEST_TYPES
from tests.new_request_type import contract
from tests.new_request_type.row import ECHO

REQUEST_TYPES[ECHO.name] = ECHO
if directory := os.environ.get("ECHO_CONTRACT"):
    contract.install(Path(directory))
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
