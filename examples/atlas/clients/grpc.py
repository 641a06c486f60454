"""Sending a task over gRPC with the client package under proto/: repeated until OK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import betterproto
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from orchestrator_client import v1

from examples.atlas.clients.retry import Jobs, NotAccepted, OnRetry, Retryable, repeat
from examples.atlas.request_types import REQUEST_TYPES, RequestType

CALL_SECONDS = 15.0
RETRYABLE = {Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.RESOURCE_EXHAUSTED, Status.INTERNAL}


class GrpcClient:
    """Sends to the Orchestrator at `host:port`. `sign` makes a fresh token for each attempt."""

    def __init__(self, host: str, port: int, sign: Callable[[], str]) -> None:
        self._host, self._port = host, port
        self._sign = sign

    def __repr__(self) -> str:
        return f"GrpcClient({self._host}:{self._port})"

    def send(self, name: str, payload: dict[str, Any], timeout: float, on_retry: OnRetry) -> Jobs:
        """The promised jobs. Raises NotAccepted for a final refusal, and after `timeout` seconds."""
        return repeat(lambda: self._attempt(REQUEST_TYPES[name], payload), timeout, on_retry)

    def _attempt(self, request_type: RequestType, payload: dict[str, Any]) -> Jobs:
        try:
            return asyncio.run(self._call(request_type, payload))
        except GRPCError as error:
            reason = f"{self} answered {error.status.name}: {error.message}"
            if error.status not in RETRYABLE:
                raise NotAccepted(reason) from error
            raise Retryable(reason) from error
        except (OSError, StreamTerminatedError) as error:
            raise Retryable(f"{self} cannot be reached: {error}") from error

    async def _call(self, request_type: RequestType, payload: dict[str, Any]) -> Jobs:
        async with Channel(self._host, self._port) as channel:
            metadata = {"authorization": f"Bearer {self._sign()}"}
            stub = v1.TasksStub(channel, timeout=CALL_SECONDS, metadata=metadata)
            message = _message(getattr(v1, request_type.message), payload)
            answer: v1.Accepted = await getattr(stub, request_type.call)(message)
        return [
            {"name": job.name, "driver": job.driver, "state": (job.state.name or "").removeprefix("STATE_").lower()}
            for job in answer.jobs
        ]


def _message(message: type[betterproto.Message], payload: dict[str, Any]) -> betterproto.Message:
    """The JSON payload as a message. They differ: `config` is text, `_meta` is `meta`, a patch id has a type."""
    fields = {**payload, "meta": payload.get("_meta") or {}}
    if "config" in fields:
        fields["config"] = json.dumps(fields["config"])
    if ids := (fields.get("artifacts") or {}).get("patch_ids"):
        fields["artifacts"] = fields["artifacts"] | {
            "patch_ids": {file: {"ids": [_patch_id(each) for each in of_file]} for file, of_file in ids.items()}
        }
    made: betterproto.Message = message().from_dict(
        {name: value for name, value in fields.items() if value is not None}
    )
    return made


def _patch_id(value: int | str) -> dict[str, int | str]:
    return {"text": value} if isinstance(value, str) else {"number": value}
