"""The gRPC server: `python -m functions.grpc`. Its section of the configuration comes from ORCHESTRATOR_GRPC.

    socket ─▶ Session (HTTP/2, bounds) ─▶ Calls (one stream) ─▶ TaskService (a function) ─▶ AsyncioClient ─▶ sidecar

One process with one thread. Several share the port (SO_REUSEPORT): `up` starts as many as `grpc.workers` says, and the
kernel distributes connections among them. On SIGTERM the listener closes and calls in flight are finished; new calls
get UNAVAILABLE, and health watchers get NOT_SERVING.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import ssl
import sys

from google.protobuf.message_factory import GetMessageClass
from grpclib.const import Handler
from grpclib.reflection.service import ServerReflection
from h2.errors import ErrorCodes

from functions import bearer
from functions.grpc import messages as grpc_messages
from functions.grpc import tls as grpc_tls
from functions.grpc.calls import Calls, Receive, Rpc, Service
from functions.grpc.head import Head
from functions.grpc.health import GrpcHealth
from functions.grpc.session import Session
from functions.refusals import RefusalLog
from functions.request_metrics import RequestMetrics
from runner import payloads
from runner.config.protocols import GrpcSection
from runner.config.section_variable import GRPC
from runner.errors import Busy, OrchestratorError
from runner.request_types import REQUEST_TYPES, RequestType
from runner.runtime import exit_codes, logs
from runner.runtime.clock import Clock, SystemClock
from runner.runtime.metrics.meter import meter
from runner.sidecar.asyncio_client import AsyncioClient
from runner.sidecar.client import DEFAULT_SOCKET, SOCKET_VARIABLE

log = logging.getLogger("orchestrator.grpc")

BACKLOG = 1024
HANDSHAKE_SECONDS = 10.0
DRAIN_SECONDS = 30.0
"""For calls in flight to end after SIGTERM; each ends within 13 by itself."""

OTHER_FILES = 128
"""Files that are no client's connection: libraries, the log, connections to the sidecar."""

WAITING = 1024
"""Calls that may wait for a slot; one more is `busy`."""


_GARBAGE_THRESHOLDS = (50_000, 20, 100)
"""A call leaves almost no reference cycles: collect seldom, as the sidecar's workers do."""


class TaskService:
    """A call for each request type: the same checks in the same order as over HTTP."""

    def __init__(self, client: AsyncioClient, concurrency: int, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._slots = asyncio.Semaphore(concurrency)
        self._waiting = 0

    def rpcs(self) -> dict[str, Rpc]:
        """The handlers by their path, which the table of request types gives."""
        return {grpc_messages.path_of(row): self._rpc(row) for row in REQUEST_TYPES.values()}

    def _rpc(self, row: RequestType) -> Rpc:
        method = grpc_messages.SERVICE.methods_by_name[row.rpc]
        read = grpc_messages.reader(GetMessageClass(method.input_type))

        async def call(head: Head, deadline: float, receive: Receive) -> bytes:
            policy = await self._client.policy(deadline)
            bearer.verify(head.authorization, policy, self._clock.wall())
            request = payloads.decode(read(await receive()), row.payload, policy)
            if self._waiting >= WAITING:
                raise Busy("too many calls are waiting; repeat this one")
            self._waiting += 1
            try:
                await self._slots.acquire()
            finally:
                self._waiting -= 1
            try:
                jobs = await self._client.submit(row.name, request, deadline, head.request_id, head.traceparent)
            finally:
                self._slots.release()
            return grpc_messages.answer(jobs)

        return call


class GrpcServer:
    """The listening server and its connections. Belongs to the event loop it is made in."""

    def __init__(self, section: GrpcSection, socket_path: str, clock: Clock) -> None:
        client = AsyncioClient(socket_path, clock)
        self._clock = clock
        self._section = section
        self._tls = grpc_tls.context(section.tls)
        self._health = GrpcHealth(client, clock, grpc_messages.SERVICE.full_name)
        refusals = RefusalLog("grpc", clock, asyncio.get_running_loop().call_later)
        rpcs = TaskService(client, section.concurrency, clock).rpcs()
        metrics = RequestMetrics("grpc", meter(os.environ, socket_path))
        types = {grpc_messages.path_of(row): row.name for row in REQUEST_TYPES.values()}
        self._service = Service(rpcs, _others(self._health), clock, refusals, metrics, types)
        self._sessions: set[Session] = set()
        self._capacity = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - OTHER_FILES
        self._server: asyncio.Server | None = None

    def __repr__(self) -> str:
        return f"GrpcServer({self._section.bind}, connections={len(self._sessions)}, calls={len(self._service.calls)})"

    async def open(self) -> None:
        """Listen. Raises OSError where the address cannot be bound."""
        host, port = _address(self._section.bind)
        handshake = HANDSHAKE_SECONDS if self._tls else None
        self._server = await asyncio.get_running_loop().create_server(
            self._session, host, port, backlog=BACKLOG, reuse_port=True,
            ssl=self._tls, ssl_handshake_timeout=handshake,
        )  # fmt: skip

    async def close(self) -> None:
        """Close the listener, finish the calls in flight, then close every connection."""
        log.info("closing; %d calls in flight are finished first", len(self._service.calls))
        assert self._server is not None
        self._server.close()
        self._service.draining = True
        self._health.drain()
        for session in self._sessions:
            session.drain()
        if calls := self._service.calls:
            await asyncio.wait(set(calls), timeout=DRAIN_SECONDS)
        await asyncio.sleep(0.1)  # for the watchers' last message, and for UNAVAILABLE to calls that are just arriving
        for session in tuple(self._sessions):
            session.close()

    async def end_slow_clients(self) -> None:
        """Look for them every second. Runs until cancelled."""
        while True:
            await asyncio.sleep(1)
            for session in tuple(self._sessions):
                session.end_slow()

    async def follow_certificates(self) -> None:
        """Read the certificates again after they have been rotated. Runs until cancelled."""
        files = self._section.tls
        known = grpc_tls.written(files)
        while self._tls:
            await asyncio.sleep(10)
            try:
                if (changed := grpc_tls.written(files)) != known:
                    grpc_tls.load(self._tls, files)
                    known = changed
                    log.info("the certificates were read again")
            except (OSError, OrchestratorError) as error:
                log.error(
                    "the certificates could not be read again, the previous ones stay in use: %s; correct the files",
                    error,
                )

    def _session(self) -> Session:
        calls = Calls(self._service)
        return Session(calls, self._clock, began=self._open, ended=self._sessions.discard)

    def _open(self, session: Session) -> None:
        """Add it. Without files for another one, the client that has been silent for longest is disconnected."""
        if len(self._sessions) >= self._capacity:
            idle = [each for each in self._sessions if each.idle()]
            for oldest in sorted(idle, key=lambda each: each.heard)[:1]:
                oldest.refuse(ErrorCodes.ENHANCE_YOUR_CALM, "another client needs its place")
        self._sessions.add(session)


def _others(health: GrpcHealth) -> dict[str, Handler]:
    """Health and reflection, by path."""
    names = [grpc_messages.SERVICE.full_name, "grpc.health.v1.Health"]
    found: dict[str, Handler] = dict(health.__mapping__())
    for service in ServerReflection.extend([]):
        service._service_names = names  # type: ignore[attr-defined]
        found.update(service.__mapping__())
    return found


def _address(bind: str) -> tuple[str, int]:
    """Host and port of `grpc.bind`; an IPv6 address stands in brackets."""
    host, _, port = bind.rpartition(":")
    return host.strip("[]"), int(port)


async def serve(section: GrpcSection, socket_path: str, clock: Clock) -> None:
    """Serve until SIGTERM or SIGINT."""
    server = GrpcServer(section, socket_path, clock)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await server.open()
    log.info("serving gRPC on %s", section.bind)
    watching = [asyncio.create_task(each) for each in (server.follow_certificates(), server.end_slow_clients())]
    await stop.wait()
    for task in watching:
        task.cancel()
    await server.close()


def main() -> int:
    """Run the process; its exit code."""
    logs.configure(logs.level_of(os.environ))
    _allow_many_files()
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
    try:
        asyncio.run(serve(GRPC.read(os.environ), os.environ.get(SOCKET_VARIABLE, DEFAULT_SOCKET), SystemClock()))
    except (OrchestratorError, ssl.SSLError) as error:
        log.error("the gRPC server cannot start: %s", error)
        return exit_codes.CONFIGURATION
    except OSError as error:
        log.error("the gRPC server cannot start: %s", error)
        return exit_codes.DEFECT
    return 0


def _allow_many_files() -> None:
    """Raise the limit of open files to the hard limit: each connection needs one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
