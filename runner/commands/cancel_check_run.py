"""`cancel_check_run`: stop one analysis, by the name that its own request gives it."""

from __future__ import annotations

from runner.commands import analysis_run, assembly
from runner.config.types import Config
from runner.jobs import Cancellation
from runner.payloads.cancel_check_run import CancelCheckRun


def plan(request: CancelCheckRun, _config: Config) -> tuple[Cancellation, ...]:
    """One cancellation; its confirmation carries the cancellation's own run id."""
    analysis = request.analysis_meta
    name = analysis_run.job_name(analysis.run_serial, analysis.run_id, analysis.check_seq)
    report = assembly.report("cancel_check_run", request.run_id, check_seq=analysis.check_seq)
    return (Cancellation(name=name, labels=assembly.labels(name), report=report),)
