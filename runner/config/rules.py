"""Rules of the configuration that no single value's type can express, by section and between sections.

Each rule gives problems with the JSON pointer of the whole file, also where one section is read alone
by its own process. Parts that could not be read are None here; they have been reported already.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from runner.config.drivers import NomadSection
from runner.config.installation import DeepsourceSection, RunnerSection
from runner.config.protocols import GrpcSection, HttpSection, RabbitmqSection
from runner.config.types import Config
from runner.errors import Problem
from runner.request_types import by_spelling


def problems(config: Config) -> Iterator[Problem]:
    """Every broken rule of the whole file."""
    if config.runner is not None:
        yield from _runner_problems(config.runner)
    if config.deepsource is not None:
        yield from _deepsource_problems(config.deepsource, config.http)
    if config.rabbitmq is not None:
        yield from rabbitmq_problems(config.rabbitmq)
    if config.pools is not None and config.default_pool not in (None, "default", *config.pools):
        yield Problem("/defaultPool", f"names no pool of this file; known: {', '.join(config.pools) or 'none'}")
    if config.sidecar is not None:
        yield from _sidecar_problems(config)
    if config.nomad is not None:
        yield from _nomad_problems(config.nomad)
    if config.protocols == ():
        yield Problem("/protocols", "must list at least one protocol: http, grpc or amqp")
    if config.grpc is not None:
        yield from grpc_problems(config.grpc)


def grpc_problems(grpc: GrpcSection) -> Iterator[Problem]:
    """The section `grpc`: a key needs its certificate, and this process must be able to read the files."""
    if (tls := grpc.tls) is None:
        return
    if tls.certificate == "" and (tls.key or tls.client_ca):
        yield Problem("/grpc/tls/certificate", "is required where grpc.tls has a key or a clientCa")
    for name, path in (("certificate", tls.certificate), ("key", tls.key), ("clientCa", tls.client_ca)):
        if path and not os.access(path, os.R_OK):
            yield Problem(f"/grpc/tls/{name}", f"names a file that cannot be read: {path}")


def rabbitmq_problems(rabbitmq: RabbitmqSection) -> Iterator[Problem]:
    """The section `rabbitmq`: delays grow, and no two request types share a queue."""
    if rabbitmq.delays is not None and None not in rabbitmq.delays and not _grow(rabbitmq.delays):
        yield Problem("/rabbitmq/delays", "must grow from one to the next")
    meant: dict[str, str] = {}
    for name, row in by_spelling().items():
        place = (rabbitmq.queues or {}).get(name)
        if meant.setdefault((place and place.queue) or name, row.name) != row.name:
            yield Problem(f"/rabbitmq/queues/{name}/queue", "must not be another request type's queue")


def _grow(delays: tuple[int, ...]) -> bool:
    return list(delays) == sorted(set(delays))


def _runner_problems(runner: RunnerSection) -> Iterator[Problem]:
    if runner.id == "":
        yield Problem("/runner/id", "is required: it is who we are to atlas")
    if runner.private_key == "":
        yield Problem("/runner/privateKey", "is required (or ORCHESTRATOR_PRIVATE_KEY): it signs result tokens")
    elif runner.private_key is not None and not _is_pem(runner.private_key):
        yield Problem("/runner/privateKey", "must be an RSA private key in PEM")


def _deepsource_problems(deepsource: DeepsourceSection, http: HttpSection | None) -> Iterator[Problem]:
    if deepsource.host == "":
        yield Problem("/deepsource/host", "is required: results go there")
    if deepsource.public_key == "" and not (http and http.allow_unauthenticated):
        yield Problem(
            "/deepsource/publicKey",
            "is required (or ORCHESTRATOR_PUBLIC_KEY): it verifies atlas's requests; http.allowUnauthenticated: true"
            " takes requests from anybody",
        )
    elif deepsource.public_key and not _is_pem(deepsource.public_key):
        yield Problem("/deepsource/publicKey", "must be an RSA public key in PEM")


def _is_pem(key: str) -> bool:
    return key.lstrip().startswith("-----BEGIN")


def _sidecar_problems(config: Config) -> Iterator[Problem]:
    (socket, workers) = (config.sidecar.socket, config.sidecar.workers)
    if socket is not None and len(socket.encode()) > 100:
        yield Problem("/sidecar/socket", "must be at most 100 bytes long: the kernel takes no longer socket path")
    if None not in (config.pools, workers) and workers > 1 and "memory" in config.drivers():
        yield Problem("/sidecar/workers", "must be 1 with the memory driver, whose jobs live in one process")


def _nomad_problems(nomad: NomadSection) -> Iterator[Problem]:
    for one, other, missing in (
        ("keyFile", nomad.cert_file, nomad.key_file),
        ("certFile", nomad.key_file, nomad.cert_file),
    ):
        if other and missing == "":
            yield Problem(f"/nomad/{one}", "is required with the other of certFile and keyFile")
    for name, path in (("caFile", nomad.ca_file), ("certFile", nomad.cert_file), ("keyFile", nomad.key_file)):
        if path and not os.access(path, os.R_OK):
            yield Problem(f"/nomad/{name}", f"names a file that cannot be read: {path}")
