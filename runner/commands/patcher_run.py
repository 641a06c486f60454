"""`patcher_run` (commit): coat itself is the main container, and there is none before it."""

from __future__ import annotations

import msgspec

from runner.commands import assembly, containers, names
from runner.commands.fingerprints import fingerprint
from runner.config.types import Config
from runner.jobs import JobSpec, Text
from runner.payloads.patcher_run import PatcherRun


def plan(request: PatcherRun, config: Config) -> tuple[JobSpec, ...]:
    """One job."""
    name = names.job_name(f"patcher-s{request.run_serial}-{request.run_id}")
    report = assembly.report("patcher_run", request.run_id)
    token = assembly.token(config, report, name, containers.TIME_LIMIT)
    secrets = containers.secrets(config, request.vcs_meta, request.keys, token)
    env = (
        *containers.PATHS,
        *containers.key_env(secrets),
        *containers.main_env(config, secrets, report),
    )
    job = assembly.job(
        config,
        name=name,
        report=report,
        fingerprint=fingerprint(report.request_type, request),
        requested_pool=request.meta.get("resource_pool", ""),
        init=None,
        main=containers.coat(config, _flags(request, config, containers.reference(secrets, "REMOTE_URL")), env),
        secrets=secrets,
    )
    return (job,)


def _flags(request: PatcherRun, config: Config, remote_url: Text) -> tuple[Text, ...]:
    return (
        *("--run-id", request.run_id, "--remote-url", remote_url),
        *("--base-branch", request.vcs_meta.base_branch),
        *("--checkout-oid", request.vcs_meta.checkout_oid),
        *("--clone-submodules", containers.flag(request.vcs_meta.clone_submodules)),
        *("--patch-meta", request.patch_meta),
        *("--artifacts", msgspec.json.encode(request.artifacts).decode()),
        *("--decrypt-remote-url", "false"),
        *containers.storage_flags(config),
    )
