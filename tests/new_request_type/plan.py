"""The plan of `echo_run`: one job, with one container."""

from __future__ import annotations

from runner.commands import assembly, names
from runner.commands.fingerprints import fingerprint
from runner.config.types import Config
from runner.jobs import Container, JobSpec, Resources
from tests.new_request_type.payload import EchoRun

SIZE = Resources(cpu=50, memory=32)


def plan(request: EchoRun, config: Config) -> tuple[JobSpec, ...]:
    """One job."""
    report = assembly.report("echo_run", request.run_id, analyzer=request.speech.words)
    main = Container(
        name="echo",
        image=request.image,
        command=("/bin/sh", "-c", 'printf %s "$1"; exit "$2"', "echo"),
        args=(request.speech.words, str(request.exit_code)),
        env=(),
        requests=SIZE,
        limits=SIZE,
    )
    job = assembly.job(
        config,
        name=names.job_name(f"echo-{request.run_id}"),
        report=report,
        fingerprint=fingerprint(report.request_type, request),
        requested_pool=request.meta.get("resource_pool", ""),
        init=None,
        main=main,
        secrets={},
    )
    return (job,)
