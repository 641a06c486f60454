"""Commands: what a request means, as jobs.

`plan` is pure: no I/O, no clock, no environment, so that a command can be rendered, compared and tested without a
cluster. One module per request type, named like its payload, each with one `plan`; what they share is named after the
thing it makes. Not in here: how a cluster writes a job down (drivers), or whether it takes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runner.commands import (
    analysis_run,
    autofix_run,
    cancel_check_run,
    patcher_run,
    ssh_verify_run,
    transformer_run,
)
from runner.config.types import Config
from runner.jobs import Action
from runner.payloads import (
    AnalysisRun,
    AutofixRun,
    CancelCheckRun,
    PatcherRun,
    Request,
    SshVerifyRun,
    TransformerRun,
)

_PLANS: dict[type[Request], Callable[[Any, Config], tuple[Action, ...]]] = {
    AnalysisRun: analysis_run.plan,
    AutofixRun: autofix_run.plan,
    TransformerRun: transformer_run.plan,
    SshVerifyRun: ssh_verify_run.plan,
    CancelCheckRun: cancel_check_run.plan,
    PatcherRun: patcher_run.plan,
}


def plan(request: Request, config: Config) -> tuple[Action, ...]:
    """What is to be done for `request`, in order.

    Raises TooLarge where one argument of a job could not be executed.
    """
    return _PLANS[type(request)](request, config)
