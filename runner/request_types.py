"""The table of request types. Every protocol, the CLI, the results and the pods' selector read it.

A request type is one row here, its payload (`runner.payloads`), its plan (`runner.commands`), its function
(`functions`) and its message and call in `proto/`. Nothing else enumerates request types.

A row names its plan as text, which `runner.commands` resolves: functions read this table, and must not import what
plans need.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from runner.payloads import Request, failure_reports
from runner.payloads.analysis_run import AnalysisRun
from runner.payloads.autofix_run import AutofixRun
from runner.payloads.cancel_check_run import CancelCheckRun
from runner.payloads.failure_reports import FailureShape
from runner.payloads.patcher_run import PatcherRun
from runner.payloads.ssh_verify_run import EXIT_CODES, SshVerifyRun
from runner.payloads.transformer_run import TransformerRun


class RequestType(msgspec.Struct, frozen=True, kw_only=True):
    """One request type: how it is sent, what it starts, and how its end is reported."""

    name: str
    """The name in frames, routing keys and logs, and in the report that is kept with a job."""
    other_spellings: tuple[str, ...] = ()
    """Other names for it that atlas's own list has."""
    payload: type[Request]
    paths: tuple[str, ...]
    """The paths of HTTP. The first is the one to use."""
    rpc: str
    """The call of `orchestrator.v1.Tasks`; its input type is the message."""
    plan: str
    """The function that plans it, as `module:function`: from a payload and the configuration to actions."""
    role: str = ""
    """The pods' label `role`; empty where no pod is started."""
    result_path: str
    """The path below atlas's URL that its results go to."""
    result_task: str
    scope: str
    """The scope of the token that a result is sent with."""
    failure: FailureShape = failure_reports.plain
    verdicts: frozenset[int] = frozenset()
    """Exit codes of the main container that are results, for a job that does not publish its own.

    Where there are any, every end is reported, with a number for a status: the exit code, or the outcome's code.
    """

    def __repr__(self) -> str:
        return f"RequestType({self.name!r})"

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every spelling of the name, the name first."""
        return (self.name, *self.other_spellings)

    @property
    def short_names(self) -> tuple[str, ...]:
        """What a person may write for it, the one to use first: its paths' last parts, its name without `_run`."""
        parts = [path.rpartition("/")[2] for path in self.paths]
        stems = [spelling.removesuffix("_run") for spelling in self.spellings]
        return tuple(dict.fromkeys([*parts, *stems]))


REQUEST_TYPES: dict[str, RequestType] = {
    row.name: row
    for row in (
        RequestType(
            name="analysis_run",
            payload=AnalysisRun,
            paths=("/tasks/analysis",),
            rpc="Analysis",
            plan="runner.commands.analysis_run:plan",
            role="analysis",
            result_path="/api/runner/analysis/results",
            result_task="contrib.atlas.tasks.store_analysis_run_result",
            scope="analysis.*",
            failure=failure_reports.analysis,
        ),
        RequestType(
            name="autofix_run",
            payload=AutofixRun,
            paths=("/tasks/autofix",),
            rpc="Autofix",
            plan="runner.commands.autofix_run:plan",
            role="autofix",
            result_path="/api/runner/autofix/results",
            result_task="contrib.atlas.tasks.store_autofix_run_result",
            scope="autofix.*",
            failure=failure_reports.autofix,
        ),
        RequestType(
            name="transformer_run",
            other_spellings=("transforer_run",),
            payload=TransformerRun,
            paths=("/tasks/transformer", "/tasks/transforer"),
            rpc="Transformer",
            plan="runner.commands.transformer_run:plan",
            role="transformer",
            result_path="/api/runner/transformer/results",
            result_task="contrib.atlas.tasks.store_transformer_run_result",
            scope="transform.*",
            failure=failure_reports.transformer,
        ),
        RequestType(
            name="ssh_verify_run",
            payload=SshVerifyRun,
            paths=("/tasks/ssh-verify", "/tasks/ssh_verify", "/tasks/sshverify"),
            rpc="SshVerify",
            plan="runner.commands.ssh_verify_run:plan",
            role="ssh-verify",
            result_path="/api/runner/ssh-verify/results",
            result_task="contrib.atlas.tasks.store_ssh_verify_result",
            scope="ssh_verify.*",
            verdicts=frozenset(EXIT_CODES),
        ),
        RequestType(
            name="cancel_check_run",
            payload=CancelCheckRun,
            paths=("/tasks/cancel-check", "/tasks/cancel_check", "/tasks/cancelcheck"),
            rpc="CancelCheck",
            plan="runner.commands.cancel_check_run:plan",
            result_path="/api/runner/cancel-check/results",
            result_task="contrib.atlas.tasks.confirm_check_cancellation",
            scope="analysis.*",
        ),
        RequestType(
            name="patcher_run",
            payload=PatcherRun,
            paths=("/tasks/commit", "/tasks/patcher"),
            rpc="Commit",
            plan="runner.commands.patcher_run:plan",
            role="patcher",
            result_path="/api/runner/autofix/committer/results",
            result_task="contrib.runner.tasks.store_autofix_committer_result",
            scope="autofix.*",
            failure=failure_reports.commit,
        ),
    )
}
"""By name, in the order in which they are listed to people. Read it when it is needed; keep no copy of it."""


def by_spelling() -> dict[str, RequestType]:
    """Every spelling of every name, with its row; the names themselves first."""
    others = {spelling: row for row in REQUEST_TYPES.values() for spelling in row.other_spellings}
    return REQUEST_TYPES | others


def of_payload(kind: type[Request]) -> RequestType:
    """The row of a payload, or of a subclass of one. Raises LookupError where there is none."""
    for row in REQUEST_TYPES.values():
        if issubclass(kind, row.payload):
            return row
    raise LookupError(f"{kind.__name__} is the payload of no request type; add a row to {__name__}")


def roles() -> Iterator[str]:
    """The roles of the pods that request types start."""
    return (row.role for row in REQUEST_TYPES.values() if row.role)
