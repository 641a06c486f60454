"""A job put together from its parts: what is the same for every request type."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from runner.commands import containers, names
from runner.config.types import Config
from runner.jobs import Container, Deadlines, Fingerprint, JobSpec, Report, Secret, TokenClaims
from runner.request_types import REQUEST_TYPES

TOKEN_GRACE = 900
"""Seconds that a result token outlives its job's deadline: clocks differ, and publishing takes time."""

HELD_SECONDS = 7 * 24 * 3600
"""Seconds added to the token's lifetime if the pool has a queue: the job's deadline starts when the queue admits it."""


def deadlines(config: Config, run: int) -> Deadlines:
    """Queueing and cloning as configured, `run` seconds for the main container."""
    return Deadlines(queue=config.limits.queue_seconds, clone=config.limits.clone_seconds, run=run)


def token(config: Config, report: Report, job: str, run: int) -> TokenClaims:
    """A result token for one run, valid as long as its job can live."""
    lifetime = deadlines(config, run).total + TOKEN_GRACE
    return TokenClaims(scope=report.scope, run_id=report.run_id, job=job, lifetime=lifetime)


def report(request_type: str, run_id: str, *, check_seq: str = "", analyzer: str = "") -> Report:
    """Where and as what the end is reported, as the table of request types says."""
    row = REQUEST_TYPES[request_type]
    return Report(
        request_type=row.name,
        run_id=run_id,
        path=row.result_path,
        task=row.result_task,
        scope=row.scope,
        check_seq=check_seq,
        analyzer=analyzer,
    )


def job(
    config: Config,
    *,
    name: str,
    report: Report,
    fingerprint: Fingerprint,
    requested_pool: str,
    init: Container | None,
    main: Container,
    secrets: Mapping[str, Secret | TokenClaims],
    run: int = containers.TIME_LIMIT,
) -> JobSpec:
    """The job, once all its arguments are known to fit."""
    containers.refuse_oversized((init, main) if init else (main,), secrets)
    pool = config.pool(requested_pool)
    analyzer = {"analyzer": names.label_value(report.analyzer)} if report.analyzer else {}
    return JobSpec(
        name=name,
        fingerprint=fingerprint.text,
        earlier_fingerprint=fingerprint.earlier,
        pool=pool,
        labels=labels(name),
        pod_labels={"application": name, "role": REQUEST_TYPES[report.request_type].role, **analyzer},
        init=init,
        main=main,
        volumes=containers.volumes(config),
        deadlines=deadlines(config, run),
        report=report,
        secrets={secret: _lasting(each) for secret, each in secrets.items()} if config.queued(pool) else secrets,
    )


def _lasting(secret: Secret | TokenClaims) -> Secret | TokenClaims:
    if isinstance(secret, TokenClaims):
        return msgspec.structs.replace(secret, lifetime=secret.lifetime + HELD_SECONDS)
    return secret


def labels(name: str) -> dict[str, str]:
    """The labels of a job, or of the tombstone that takes its place."""
    return {"application": name, "manager": "runner"}
