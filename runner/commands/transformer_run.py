"""`transformer_run`: one job that formats and commits."""

from __future__ import annotations

import rtoml

from runner.commands import assembly, containers, names
from runner.commands.fingerprints import fingerprint
from runner.config.types import Config
from runner.jobs import JobSpec, Resources, Text
from runner.payloads.transformer_run import TransformerRun

CHECK_SEQ = "1"


def plan(request: TransformerRun, config: Config) -> tuple[JobSpec, ...]:
    """One job."""
    name = names.job_name(f"transformer-s{request.run_serial}-{request.run_id}")
    meta = request.transformer.meta
    report = assembly.report("transformer_run", request.run_id)
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
            reference=containers.image(config, "bumblebee", meta.version),
            flags=_flags(request),
            limits=Resources(cpu=int(meta.cpu_limit), memory=int(meta.memory_limit)),
            secrets=secrets,
            report=report,
        ),
        secrets=secrets,
    )
    return (job,)


def _flags(request: TransformerRun) -> tuple[Text, ...]:
    return ("--transform", _toml(request), *containers.config_flag(request.config))


def _toml(request: TransformerRun) -> str:
    patch = request.patch_commit
    return rtoml.dumps(
        {
            "runID": request.run_id,
            "baseOID": request.vcs_meta.base_oid,
            "checkoutOID": request.vcs_meta.checkout_oid,
            "transformerCommand": request.transformer.command,
            "transformerTools": list(request.transformer.tools),
            "dsConfigUpdated": request.ds_config_updated,
            "patch_commit": {
                "Author": {"Name": patch.author.name, "Email": patch.author.email},
                "Commit": {
                    "Title": patch.commit.title,
                    "Message": patch.commit.message,
                    "DestinationBranch": patch.commit.destination_branch,
                },
            },
        }
    )
