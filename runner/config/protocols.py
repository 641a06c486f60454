"""Sections of the protocols: HTTP, gRPC and RabbitMQ.

No secret is in here: the broker's URL and credentials are in the environment only.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta

from runner.config.addresses import Bind
from runner.config.section import Count, Line, Seconds, Section
from runner.request_types import by_spelling

Protocol = Literal["http", "grpc", "amqp"]
_NAME = r"\A[^\x00-\x1f\x7f]{%d,200}\Z"
RabbitmqName = Annotated[
    str, Meta(pattern=_NAME % 1, description="a name of 1 to 200 characters, without control characters")
]
"""The name of an exchange or a queue. AMQP allows 255 bytes; the rest is for suffixes that are appended."""

OptionalRabbitmqName = Annotated[
    str, Meta(pattern=_NAME % 0, description="a name of at most 200 characters, without control characters")
]

RequestTypeName = Annotated[
    str,
    Meta(
        pattern=rf"\A(?:{'|'.join(map(re.escape, by_spelling()))})\Z",
        description=f"a request type: {', '.join(by_spelling())}",
    ),
]


class HttpSection(Section, frozen=True):
    """The HTTP server."""

    bind: Bind = "127.0.0.1:8080"
    workers: Count = 2
    threads: Count = 8
    """Requests in flight in each worker."""
    allow_unauthenticated: bool = False
    """Accept requests without a token, by HTTP and by gRPC. Only for a network without other clients."""


class GrpcTls(Section, frozen=True):
    """Paths of PEM files. They are read again after they have changed."""

    certificate: Line = ""
    """The server's certificate with its chain; without it the server speaks plain text."""
    key: Line = ""
    """The certificate's private key; empty where the certificate's file holds it."""
    client_ca: Line = ""
    """The authority that signs client certificates; with it, every client must show one (mutual TLS)."""


class GrpcSection(Section, frozen=True):
    """The gRPC server. Whether clients need a token is said by `http.allowUnauthenticated`, for HTTP and gRPC alike."""

    bind: Bind = "127.0.0.1:50051"
    workers: Count = 2
    """Processes, which share the port."""
    concurrency: Count = 16
    """Calls that one process sends to the sidecar at once; further calls wait for one of them to end."""
    tls: GrpcTls = GrpcTls()


class RabbitmqQueue(Section, frozen=True):
    """The queue and the routing key of one request type; each is the request type's own name where empty."""

    queue: OptionalRabbitmqName = ""
    key: OptionalRabbitmqName = ""


class RabbitmqSection(Section, frozen=True):
    """The RabbitMQ consumer. The broker's URL and credentials are in the environment only."""

    exchange: RabbitmqName = "atlas-jobs"
    queues: dict[RequestTypeName, RabbitmqQueue] = {}
    queue_type: Literal["classic", "quorum"] = "classic"
    """The type of the queues that are declared here; existing queues are used as they are."""
    declare: bool = True
    """Declare the exchanges and queues that are missing; else only check that all of them exist."""
    prefetch: Count = 32
    """Messages of each queue in flight at once."""
    threads: Count = 16
    """Commands in flight at once, of all queues together."""
    delays: Annotated[tuple[Seconds, ...], Meta(min_length=1, max_length=16, description="a list of 1 to 16")] = (
        1, 2, 5, 10, 30, 60, 120, 300,
    )  # fmt: skip
    """Seconds, growing: how long a message waits after its first, second … failure."""
    health_file: Line = ""
    """A file that exists, and is renewed, while messages are consumed."""
