"""`autofix_run`: one job that fixes all given occurrences."""

from __future__ import annotations

import base64
import sys

import msgspec
import rtoml

from runner.commands import assembly, containers, names
from runner.commands.fingerprints import fingerprint
from runner.config.types import Config
from runner.jobs import JobSpec, Resources, Text
from runner.payloads.autofix_run import AutofixRun

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD_LEVEL = 15
CHECK_SEQ = "1"


def plan(request: AutofixRun, config: Config) -> tuple[JobSpec, ...]:
    """One job."""
    name = names.job_name(f"autofix-s{request.run_serial}-{request.run_id}-{CHECK_SEQ}")
    meta = request.autofixer.autofix_meta
    report = assembly.report("autofix_run", request.run_id, check_seq=CHECK_SEQ, analyzer=meta.name)
    token = assembly.token(config, report, name, containers.TIME_LIMIT)
    secrets = containers.secrets(config, request.vcs_meta, request.keys, token)
    job = assembly.job(
        config,
        name=name,
        report=report,
        fingerprint=fingerprint(report.request_type, request),
        requested_pool=request.meta.get("resource_pool", ""),
        init=containers.clone(config, request.run_id, CHECK_SEQ, request.vcs_meta, secrets, report),
        main=containers.marvin(
            config,
            reference=containers.image(config, f"marvin-{meta.name}", meta.version),
            flags=_flags(request, config),
            limits=Resources(cpu=int(meta.cpu_limit), memory=int(meta.memory_limit)),
            secrets=secrets,
            report=report,
        ),
        secrets=secrets,
    )
    return (job,)


def _flags(request: AutofixRun, config: Config) -> tuple[Text, ...]:
    return (
        *("--autofix", _packed(_toml(request))),
        *containers.config_flag(request.config),
        *containers.storage_flags(config),
    )


def _packed(toml: str) -> str:
    return base64.b64encode(zstd.compress(toml.encode(), level=ZSTD_LEVEL)).decode()


def _toml(request: AutofixRun) -> str:
    meta = request.autofixer.autofix_meta
    return rtoml.dumps(
        {
            "runID": request.run_id,
            "analyzerShortcode": meta.name,
            "autofixerCommand": meta.command,
            "checkoutOID": request.vcs_meta.checkout_oid,
            "autofix_issues": msgspec.json.encode(request.autofixer.autofixes).decode(),
        }
    )
