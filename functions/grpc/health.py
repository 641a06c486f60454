"""grpc.health.v1: SERVING only while the sidecar answers and can create jobs, as `/readyz` over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_grpc import HealthBase
from grpclib.health.v1.health_pb2 import HealthCheckResponse

from runner.errors import OrchestratorError
from runner.runtime.clock import Clock
from runner.sidecar.asyncio_client import AsyncioClient

READY_SECONDS = 3.0
"""For the sidecar to answer."""

FRESH_SECONDS = 1.0
"""How old the result of a ping may be, and the pause between two checks for watchers."""


class GrpcHealth(HealthBase):
    """`Check` and `Watch` for these services and for the whole server, whose name is empty."""

    def __init__(self, client: AsyncioClient, clock: Clock, *services: str) -> None:
        self._client = client
        self._clock = clock
        self._services = ("", *services)
        self._draining = asyncio.Event()
        self._pinging = asyncio.Lock()
        self._last_ping = (0.0, False)

    def drain(self) -> None:
        """NOT_SERVING from now on; every watcher is notified at once."""
        self._draining.set()

    async def Check(self, stream: Any) -> None:  # noqa: N802  (the contract's name)
        """The state now."""
        request = await stream.recv_message()
        if request is None or request.service not in self._services:
            raise GRPCError(Status.NOT_FOUND, "no such service here")
        await stream.send_message(HealthCheckResponse(status=await self._status()))

    async def Watch(self, stream: Any) -> None:  # noqa: N802  (the contract's name)
        """The state now and whenever it changes, until the client or this server ends."""
        request = await stream.recv_message()
        known = request is not None and request.service in self._services
        last = None
        while True:
            status = await self._status() if known else HealthCheckResponse.SERVICE_UNKNOWN
            if status != last:
                await stream.send_message(HealthCheckResponse(status=status))
                last = status
            if self._draining.is_set():
                return
            await self._pause()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(FRESH_SECONDS):
                await self._draining.wait()
        except TimeoutError:
            pass

    async def _status(self) -> Any:
        serving = not self._draining.is_set() and await self._ready()
        return HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING

    async def _ready(self) -> bool:
        """Whether the sidecar is ready; checks at the same time share one ping."""
        async with self._pinging:
            if self._clock.monotonic() > self._last_ping[0]:
                self._last_ping = (self._clock.monotonic() + FRESH_SECONDS, await self._ping())
            return self._last_ping[1]

    async def _ping(self) -> bool:
        try:
            await self._client.ping(self._clock.monotonic() + READY_SECONDS)
        except OrchestratorError:
            return False
        return True
