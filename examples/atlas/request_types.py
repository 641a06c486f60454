"""The table of request types: how atlas sends each over every protocol, and how its result comes back."""

from __future__ import annotations

import msgspec


class RequestType(msgspec.Struct, frozen=True):
    """One row. The last three columns are of the result: atlas's path, the scope of its token, and its task."""

    name: str
    message_type: str
    result_path: str
    scope: str
    task: str

    @property
    def path(self) -> str:
        """The path of the Orchestrator that accepts it over HTTP."""
        return f"/tasks/{self.name}"

    @property
    def call(self) -> str:
        """The method of the gRPC stub."""
        return self.name.replace("-", "_")

    @property
    def message(self) -> str:
        """The gRPC message, as the client package names it."""
        return "".join(word.capitalize() for word in self.message_type.split("_"))


REQUEST_TYPES = {
    each.name: each
    for each in (
        RequestType(
            name="analysis",
            message_type="analysis_run",
            result_path="/api/runner/analysis/results",
            scope="analysis.*",
            task="contrib.atlas.tasks.store_analysis_run_result",
        ),
        RequestType(
            name="autofix",
            message_type="autofix_run",
            result_path="/api/runner/autofix/results",
            scope="autofix.*",
            task="contrib.atlas.tasks.store_autofix_run_result",
        ),
        RequestType(
            name="transformer",
            message_type="transformer_run",
            result_path="/api/runner/transformer/results",
            scope="transform.*",
            task="contrib.atlas.tasks.store_transformer_run_result",
        ),
        RequestType(
            name="commit",
            message_type="patcher_run",
            result_path="/api/runner/autofix/committer/results",
            scope="autofix.*",
            task="contrib.runner.tasks.store_autofix_committer_result",
        ),
        RequestType(
            name="cancel-check",
            message_type="cancel_check_run",
            result_path="/api/runner/cancel-check/results",
            scope="analysis.*",
            task="contrib.atlas.tasks.confirm_check_cancellation",
        ),
        RequestType(
            name="ssh-verify",
            message_type="ssh_verify_run",
            result_path="/api/runner/ssh-verify/results",
            scope="ssh_verify.*",
            task="contrib.atlas.tasks.store_ssh_verify_result",
        ),
    )
}
