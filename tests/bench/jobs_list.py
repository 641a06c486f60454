"""`jobs list --all` of 10,000 jobs that ran on this host, half of them failed: the whole command, from its start."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import msgspec

from runner.drivers.local.record import EndFile, JobFile, ReportedFile
from runner.jobs import Report
from tests.bench.figures import Figure
from tests.bench.stack import ROOT

JOBS = 10_000
BOUND_SECONDS = 3
ROUNDS = 5
_TRACEBACK = 'Traceback (most recent call last):\n  File "/app/main.py", line 1, in <module>\n    main()\n' * 4


def jobs_list(config: Path, directory: Path) -> Iterator[Figure]:
    """The seconds of one command; `directory` is `local.directory` of the configuration and is empty."""
    for number in range(JOBS):
        _write_job(directory / f"analysis-{number}", number)
    command = (sys.executable, "-m", "runner", "jobs", "list", "--all", "--config", str(config))
    rounds = []
    for _ in range(ROUNDS):
        began = time.monotonic()
        lines = subprocess.check_output(command, cwd=ROOT).splitlines()
        rounds.append(time.monotonic() - began)
        assert len(lines) == JOBS, f"{len(lines)} lines"
    note = ", ".join(f"{seconds:.2f}" for seconds in rounds)
    yield Figure(f"`jobs list --all` of {JOBS} jobs", median(rounds), "s", BOUND_SECONDS, note=note)


def _write_job(path: Path, number: int) -> None:
    failed, now = bool(number % 2), time.time()
    report = Report("analysis_run", f"run-{number}", "/api/runner/analysis/", "analysis.result", "analysis")
    files = {
        "job": JobFile(
            name=path.name, created=now - number, boot="boot", monotonic=1.0, queue_seconds=300, report=report
        ),
        "end": EndFile(
            phase="failed" if failed else "succeeded",
            ended=now,
            init_exit=0,
            main_exit=int(failed),
            message=_TRACEBACK if failed else "",
        ),
        "reported": ReportedFile(at=now),
    }
    path.mkdir(parents=True)
    for name, content in files.items():
        (path / f"{name}.json").write_bytes(msgspec.json.encode(content))
