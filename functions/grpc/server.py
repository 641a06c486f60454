"""The gRPC door: `python -m functions.grpc`, set from the environment as `gunicorn.conf.py` is.

    socket ─▶ Session (HTTP/2, bounds) ─▶ Calls (one stream) ─▶ Tasks (a function) ─▶ AsyncioClient ─▶ sidecar

One process with one thread. Several share the port (SO_REUSEPORT): `up` starts as many as `grpc.workers` says, and the
kernel deals connections out among them. On SIGTERM the door closes: calls in hand are finished, new ones are told
UNAVAILABLE, watchers of its health NOT_SERVING.
"""

from __future__ import annotations

import asyncio
import gc
import logging.config
import os
import resource
import signal
import ssl
import sys
import time
from collections.abc import Mapping

import msgspec
from google.protobuf.message_factory import GetMessageClass
from grpclib.const import Handler
from grpclib.reflection.service import ServerReflection

from functions import bearer
from functions.grpc import messages as grpc_messages
from functions.grpc import tls as grpc_tls
from functions.grpc.calls import Calls, Head, Receive, Rpc, Service
from functions.grpc.health import Health
from functions.grpc.session import Session
from runner import payloads
from runner.errors import Busy, OrchestratorError
from runner.request_types import REQUEST_TYPES, RequestType
from runner.runtime import exit_codes, logs
from runner.sidecar.asyncio_client import AsyncioClient
from runner.sidecar.client import DEFAULT_SOCKET, SOCKET_VARIABLE

log = logging.getLogger("orchestrator.grpc")

BACKLOG = 1024
HANDSHAKE_SECONDS = 10.0
DRAIN_SECONDS = 30.0
"""For calls in hand to end after SIGTERM; each ends within 13 by itself."""

WAITING = 1024
"""Calls that may wait for one of those in hand to end; one more is `busy`."""


_GARBAGE_THRESHOLDS = (50_000, 20, 100)
"""A call leaves next to no cycles behind: look for garbage seldom, as the sidecar's workers do."""


class Settings(msgspec.Struct, frozen=True):
    """What the environment says."""

    bind: str = "127.0.0.1:50051"
    socket: str = DEFAULT_SOCKET
    concurrency: int = 16
    """Calls handed to the sidecar at once; more would only wait in its queue, where it calls them `busy`."""
    tls: grpc_tls.Files = grpc_tls.Files()

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Settings:
        """From the environment. Raises ValueError where a number is none."""
        default = cls()
        return cls(
            bind=environ.get("ORCHESTRATOR_GRPC_BIND", default.bind),
            socket=environ.get(SOCKET_VARIABLE, default.socket),
            concurrency=int(environ.get("ORCHESTRATOR_GRPC_CONCURRENCY", default.concurrency)),
            tls=grpc_tls.Files(
                certificate=environ.get("ORCHESTRATOR_GRPC_TLS_CERTIFICATE", ""),
                key=environ.get("ORCHESTRATOR_GRPC_TLS_KEY", ""),
                client_ca=environ.get("ORCHESTRATOR_GRPC_TLS_CLIENT_CA", ""),
            ),
        )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port; an IPv6 address stands in brackets."""
        host, _, port = self.bind.rpartition(":")
        return host.strip("[]"), int(port)


class Tasks:
    """A call for each request type: the same checks in the same order as over HTTP."""

    def __init__(self, client: AsyncioClient, concurrency: int) -> None:
        self._client = client
        self._hands = asyncio.Semaphore(concurrency)
        self._waiting = 0

    def rpcs(self) -> dict[str, Rpc]:
        """By path, as the table of request types names them."""
        return {f"/{grpc_messages.SERVICE.full_name}/{row.rpc}": self._rpc(row) for row in REQUEST_TYPES.values()}

    def _rpc(self, row: RequestType) -> Rpc:
        method = grpc_messages.SERVICE.methods_by_name[row.rpc]
        read = grpc_messages.reader(GetMessageClass(method.input_type))

        async def call(head: Head, deadline: float, receive: Receive) -> bytes:
            policy = await self._client.policy(deadline)
            bearer.verify(head.authorization, policy, time.time())
            request = payloads.decode(read(await receive()), row.payload, policy)
            if self._waiting >= WAITING:
                raise Busy("too many calls are waiting; repeat this one")
            self._waiting += 1
            try:
                await self._hands.acquire()
            finally:
                self._waiting -= 1
            try:
                jobs = await self._client.submit(row.name, request, deadline, head.request_id)
            finally:
                self._hands.release()
            return grpc_messages.answer(jobs)

        return call


class Door:
    """The listening server and its connections. Belongs to the event loop it is made in."""

    def __init__(self, settings: Settings) -> None:
        client = AsyncioClient(settings.socket)
        self._settings = settings
        self._tls = grpc_tls.context(settings.tls)
        self._health = Health(client, grpc_messages.SERVICE.full_name)
        self._service = Service(Tasks(client, settings.concurrency).rpcs(), _others(self._health))
        self._sessions: set[Session] = set()
        self._server: asyncio.Server | None = None

    def __repr__(self) -> str:
        return f"Door({self._settings.bind}, connections={len(self._sessions)}, calls={len(self._service.calls)})"

    async def open(self) -> None:
        """Listen. Raises OSError where the address is not to be had."""
        host, port = self._settings.address
        handshake = HANDSHAKE_SECONDS if self._tls else None
        self._server = await asyncio.get_running_loop().create_server(
            self._session, host, port, backlog=BACKLOG, reuse_port=True,
            ssl=self._tls, ssl_handshake_timeout=handshake,
        )  # fmt: skip

    async def close(self) -> None:
        """Take no more, finish what is in hand, then end every connection."""
        log.info("closing; %d calls in hand are finished first", len(self._service.calls))
        assert self._server is not None
        self._server.close()
        self._service.draining = True
        self._health.drain()
        for session in self._sessions:
            session.drain()
        if calls := self._service.calls:
            await asyncio.wait(set(calls), timeout=DRAIN_SECONDS)
        await asyncio.sleep(0.1)  # for the watchers' last word, and for what is on its way to be told UNAVAILABLE
        for session in tuple(self._sessions):
            session.close()

    async def follow_certificates(self) -> None:
        """Read the certificates again when they have been rotated."""
        files = self._settings.tls
        known = files.changed()
        while self._tls:
            await asyncio.sleep(10)
            try:
                if (changed := files.changed()) != known:
                    grpc_tls.load(self._tls, files)
                    known = changed
                    log.info("the certificates were read again")
            except (OSError, OrchestratorError) as error:
                log.error("the certificates could not be read again: %s", error)

    def _session(self) -> Session:
        calls = Calls(self._service)
        return Session(calls, began=self._sessions.add, ended=self._sessions.discard)


def _others(health: Health) -> dict[str, Handler]:
    """Health and reflection, by path."""
    names = [grpc_messages.SERVICE.full_name, "grpc.health.v1.Health"]
    found: dict[str, Handler] = dict(health.__mapping__())
    for service in ServerReflection.extend([]):
        service._service_names = names  # type: ignore[attr-defined]
        found.update(service.__mapping__())
    return found


async def serve(settings: Settings) -> None:
    """Until SIGTERM or SIGINT."""
    door = Door(settings)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await door.open()
    log.info("serving gRPC on %s", settings.bind)
    following = asyncio.create_task(door.follow_certificates())
    await stop.wait()
    following.cancel()
    await door.close()


def main() -> int:
    """The process's whole life; its exit code."""
    logging.config.dictConfig(logs.settings(os.environ.get("ORCHESTRATOR_LOG_LEVEL", "INFO")))
    _allow_many_files()
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
    try:
        asyncio.run(serve(Settings.of(os.environ)))
    except (OrchestratorError, ValueError, ssl.SSLError) as error:
        log.error("the gRPC door cannot open: %s", error)
        return exit_codes.CONFIGURATION
    except OSError as error:
        log.error("the gRPC door cannot open: %s", error)
        return exit_codes.DEFECT
    return 0


def _allow_many_files() -> None:
    """As many connections as the hard limit has files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
