"""Trying something in a process of its own, which is thrown away."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable

from runner.errors import OrchestratorError
from runner.runtime import exit_codes

log = logging.getLogger("orchestrator.trial")


def succeeds(work: Callable[[], object], seconds: int) -> bool:
    """Whether `work` ends in time and without an error, which is logged. This process must have one thread only.

    What it imports and the connections that it opens end with the trial.
    """
    trial = os.fork()
    if trial == 0:
        signal.alarm(seconds)
        try:
            work()
        except OrchestratorError as error:
            log.error("%s", error.detail)
            os._exit(exit_codes.CONFIGURATION)
        except BaseException:
            log.exception("the new configuration cannot be used")
            os._exit(exit_codes.DEFECT)
        os._exit(0)
    return os.waitpid(trial, 0)[1] == 0
