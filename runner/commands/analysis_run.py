"""`analysis_run`: a job for each check, named after the run and the check."""

from __future__ import annotations

import msgspec
import rtoml

from runner.commands import assembly, containers, names
from runner.commands.fingerprints import fingerprint
from runner.config.types import Config
from runner.jobs import JobSpec, Resources, Secret, Text
from runner.payloads.analysis_run import AnalysisRun, Check


def plan(request: AnalysisRun, config: Config) -> tuple[JobSpec, ...]:
    """One job per check."""
    return tuple(_job(request, check, config) for check in request.checks)


def job_name(run_serial: str, run_id: str, check_seq: str) -> str:
    """What an analysis is called; a cancellation finds it by this."""
    return names.job_name(f"analysis-s{run_serial}-{run_id}-{check_seq}")


def _job(request: AnalysisRun, check: Check, config: Config) -> JobSpec:
    name = job_name(request.run_serial, request.run_id, check.check_seq)
    meta = check.analyzer_meta
    report = assembly.report("analysis_run", request.run_id, check_seq=check.check_seq, analyzer=meta.name)
    token = assembly.token(config, report, name, containers.TIME_LIMIT)
    artifacts = msgspec.json.encode(check.artifacts).decode()
    secrets = containers.secrets(config, request.vcs_meta, request.keys, token)
    if check.artifacts:  # their URLs may be signed
        secrets["ARTIFACTS"] = Secret(artifacts)
    return assembly.job(
        config,
        name=name,
        report=report,
        fingerprint=fingerprint(report.request_type, msgspec.structs.replace(request, checks=(check,))),
        requested_pool=request.meta.get("resource_pool", ""),
        init=containers.clone(
            config,
            request.run_id,
            check.check_seq,
            request.vcs_meta,
            secrets,
            report,
            artifacts=("--artifacts", containers.reference(secrets, "ARTIFACTS") or artifacts),
        ),
        main=containers.marvin(
            config,
            reference=containers.image(config, _image_name(check), meta.version),
            flags=_flags(request, check, config),
            limits=Resources(cpu=int(meta.cpu_limit), memory=int(meta.memory_limit)),
            secrets=secrets,
            report=report,
        ),
        secrets=secrets,
    )


def _image_name(check: Check) -> str:
    meta = check.analyzer_meta
    return f"marvin-{meta.name}" if meta.analyzer_type == "core" else meta.name


def _flags(request: AnalysisRun, check: Check, config: Config) -> tuple[Text, ...]:
    return (
        *("--analyze", _toml(request, check)),
        *containers.config_flag(request.config),
        *containers.storage_flags(config),
    )


def _toml(request: AnalysisRun, check: Check) -> str:
    vcs = request.vcs_meta
    previous = request.previous_completed_run_commit_oid or vcs.previous_completed_run_commit_oid
    return rtoml.dumps(
        {
            "runID": request.run_id,
            "runSerial": request.run_serial,
            "checkSeq": check.check_seq,
            "analyzerShortcode": check.analyzer_meta.name,
            "analyzerCommand": check.analyzer_meta.command,
            "analyzerType": check.analyzer_meta.analyzer_type,
            "baseOID": vcs.base_oid,
            "checkoutOID": vcs.checkout_oid,
            "repository": vcs.repository_name,
            "is_full_run": request.is_full_run,
            "isForDefaultAnalysisBranch": vcs.is_for_default_analysis_branch,
            "dsConfigUpdated": request.ds_config_updated,
            "processors": list(check.processors),
            "previousCompletedRunCommitOID": previous,
            "repoID": request.repo_id,
            "diffMetaCommits": [
                {"commitOID": commit.commit_oid, "paths": list(commit.paths)} for commit in check.diff_meta_commits
            ],
        }
    )
