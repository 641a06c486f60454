"""Sending a task by gRPC, with the client package under proto/: until it is OK, as over HTTP until it is a 2xx."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import betterproto
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from orchestrator_client import v1

from examples.atlas.orchestrator import FIRST_PAUSE, LONGEST_PAUSE, NotAccepted

CALLS: dict[str, tuple[str, type[betterproto.Message]]] = {
    "analysis": ("analysis", v1.AnalysisRun),
    "autofix": ("autofix", v1.AutofixRun),
    "transformer": ("transformer", v1.TransformerRun),
    "ssh-verify": ("ssh_verify", v1.SshVerifyRun),
    "cancel-check": ("cancel_check", v1.CancelCheckRun),
    "commit": ("commit", v1.PatcherRun),
}
CALL_SECONDS = 15.0
REPEATED = {Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.RESOURCE_EXHAUSTED, Status.INTERNAL}


class Calls:
    """Where tasks go. `sign` makes the token of each sending."""

    def __init__(self, host: str, port: int, sign: Callable[[], str]) -> None:
        self._host, self._port = host, port
        self._sign = sign

    def __repr__(self) -> str:
        return f"Calls({self._host}:{self._port})"

    def send(
        self,
        kind: str,
        payload: dict[str, Any],
        patience: float,
        repeating: Callable[[str, float], None],
    ) -> list[dict[str, str]]:
        """The jobs that were promised. Raises NotAccepted where the answer will never be another, or patience ends."""
        end, pause = time.monotonic() + patience, FIRST_PAUSE
        while True:
            try:
                return asyncio.run(self._call(kind, payload))
            except GRPCError as error:
                reason = f"{self} answered {error.status.name}: {error.message}"
                if error.status not in REPEATED:
                    raise NotAccepted(reason) from error
            except (OSError, StreamTerminatedError) as error:
                reason = f"{self} cannot be reached: {error}"
            if time.monotonic() + pause > end:
                raise NotAccepted(f"not accepted within {patience:.0f} s; the last time {reason}")
            repeating(reason, pause)
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _call(self, kind: str, payload: dict[str, Any]) -> list[dict[str, str]]:
        name, message = CALLS[kind]
        async with Channel(self._host, self._port) as channel:
            metadata = {"authorization": f"Bearer {self._sign()}"}
            tasks = v1.TasksStub(channel, timeout=CALL_SECONDS, metadata=metadata)
            answer: v1.Accepted = await getattr(tasks, name)(_message(message, payload))
        return [
            {"name": job.name, "driver": job.driver, "state": (job.state.name or "").removeprefix("STATE_").lower()}
            for job in answer.jobs
        ]


def _message(kind: type[betterproto.Message], payload: dict[str, Any]) -> betterproto.Message:
    """The JSON in the contract's words: `config` is its own text, `_meta` is `meta`, and ids say what they are."""
    said = {**payload, "meta": payload.get("_meta") or {}}
    if "config" in said:
        said["config"] = json.dumps(said["config"])
    if ids := (said.get("artifacts") or {}).get("patch_ids"):
        said["artifacts"] = said["artifacts"] | {
            "patch_ids": {file: {"ids": [_patch_id(each) for each in of_file]} for file, of_file in ids.items()}
        }
    return kind().from_dict({name: value for name, value in said.items() if value is not None})


def _patch_id(given: int | str) -> dict[str, int | str]:
    return {"text": given} if isinstance(given, str) else {"number": given}
