"""`jobs list` and `jobs wait`: filters, formats and exit codes, against jobs of this host and of doubles."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from runner.cli import known, listing
from runner.cli import main as command_line
from runner.errors import Unavailable
from runner.jobs import Report
from runner.observation import Observation
from runner.runtime import exit_codes

commands = sys.modules["runner.cli.jobs"]  # the package has the group of commands under this name
REPORT = Report(request_type="analysis_run", run_id="r-1", path="/p", task="t", scope="s")
NOW = 1_800_000_000.0


def job(name: str, age: float = 60.0, **facts: Any) -> Observation:
    base = {"driver": "kubernetes", "place": "ci", "pool": "small", "phase": "waiting", "identity": name}
    return Observation(name=name, created=NOW - age, **{**base, **facts})


JOBS = [
    job("ran", 9000, phase="succeeded", main_exit=0, reported=True, report=REPORT),
    job("failed", 4000, phase="failed", main_exit=3, pool="large"),
    job("set-aside", 3600, phase="failed", main_exit=3, reported=True, set_aside=True),
    job("pulls", 200, image_error="coat: ImagePullBackOff: not found"),
    job("full", 100, unschedulable="0/3 nodes are available"),
    job("held", 50, held="queue batch"),
    job("runs", 40, phase="running", report=REPORT),
    job("new", 1),
]


class Cluster:
    """As much of a driver as the commands need. `events` explain jobs; `error` ends a listing early."""

    def __init__(self, seen: Iterable[Observation], *, error: bool = False, **events: str) -> None:
        self.seen = list(seen)
        self.error = error
        self.events = events
        self.asked: list[str] = []
        self.next: list[Observation | None] = []

    def list(self) -> Iterable[Observation]:
        yield from self.seen
        if self.error:
            raise Unavailable("the API server does not answer")

    def explain(self, seen: Observation) -> Observation:
        self.asked.append(seen.name)
        return msgspec.structs.replace(seen, not_admitted=self.events.get(seen.name, ""))

    def find(self, seen: Observation) -> Observation | None:
        return self.next.pop(0)


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """A command of `jobs`, with these drivers."""

    def run(*arguments: str, **drivers: Cluster) -> Result:
        for module in (listing, known):
            monkeypatch.setattr(module, "now", lambda: NOW)
            monkeypatch.setattr(module, "drivers", lambda _config: drivers)
        for module in (listing, commands):
            monkeypatch.setattr(module, "load_or_exit", lambda _path: None)
        return CliRunner().invoke(command_line, ["jobs", *arguments])

    return run


def names(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return result.stdout.split()


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ([], "failed pulls full held runs new"),
        (["--all"], "ran failed set-aside pulls full held runs new"),
        (["--state", "waiting"], "pulls full held new"),
        (["--state", "running", "--state", "waiting"], "pulls full held runs new"),
        (["--state", "failed"], "failed set-aside"),
        (["--reason", "image_unavailable"], "pulls"),
        (["--reason", "held", "--reason", "unschedulable"], "full held"),
        (["--reason", "analyzer_failed", "--pool", "small"], "set-aside"),
        (["--since", "90s"], "held runs new"),
        (["--all", "--since", "2h"], "failed set-aside pulls full held runs new"),
        (["--all", "--run", "r-1"], "ran runs"),
        (["--driver", "kubernetes", "--state", "running"], "runs"),
    ],
)
def test_filters(options: list[str], wanted: str, run: Run) -> None:
    assert names(run("list", "-o", "name", *options, kubernetes=Cluster(JOBS))) == wanted.split()


@pytest.mark.parametrize(
    "bad", [["--since", "yesterday"], ["--state", "dead"], ["--reason", "oom"], ["--driver", "nomad"], ["-o", "yaml"]]
)
def test_what_cannot_be_asked_for(bad: list[str], run: Run) -> None:
    result = run("list", *bad, kubernetes=Cluster([]))
    assert result.exit_code == exit_codes.USAGE
    assert bad[1] in result.stderr


def test_why_each_job_waits_or_ended(run: Run) -> None:
    shown = {line.split()[0]: line for line in run("list", kubernetes=Cluster(JOBS)).stdout.splitlines()}
    assert shown["pulls"].endswith("ImagePullBackOff: coat: not found")
    assert shown["full"].endswith("Unschedulable: 0/3 nodes are available")
    assert shown["held"].endswith("Suspended by queue batch")
    assert shown["failed"].endswith("The analyzer ended with an error.")
    assert shown["runs"].split()[1:3] == ["running", "40s"]


def test_the_events_are_read_of_what_nothing_else_explains(run: Run) -> None:
    cluster = Cluster([*JOBS, job("refused", 30)], refused="exceeded quota: q")
    result = run("list", kubernetes=cluster)
    assert cluster.asked == ["refused"]  # `new` has only just come
    assert "Not admitted: exceeded quota: q" in result.stdout


def test_json_has_every_field(run: Run) -> None:
    listed = json.loads(run("list", "--all", "-o", "json", kubernetes=Cluster(JOBS)).stdout)
    by_name = {each["name"]: each for each in listed}
    assert len(listed) == len(JOBS)
    assert by_name["set-aside"] | {"created": 0} == {
        "name": "set-aside",
        "state": "failed",
        "reason": "analyzer_failed",
        "why": "The analyzer ended with an error.",
        "code": 5107,
        "driver": "kubernetes",
        "place": "ci",
        "pool": "small",
        "request_type": None,
        "run_id": None,
        "created": 0,
        "ended": None,
        "cancelled": False,
        "reported": True,
        "set_aside": True,
    }
    assert by_name["ran"]["run_id"] == "r-1"


def test_wide_says_where_and_whether_it_was_reported(run: Run) -> None:
    lines = run("list", "--all", "-o", "wide", kubernetes=Cluster(JOBS)).stdout.splitlines()
    assert lines[0].split()[4:9] == ["kubernetes", "ci", "small", "r-1", "yes"]
    assert "  set aside  " in lines[2]


def test_no_jobs_as_json_are_an_empty_list(run: Run) -> None:
    assert json.loads(run("list", "-o", "json", kubernetes=Cluster([])).stdout) == []


def test_a_cluster_that_does_not_answer_hides_no_other(run: Run) -> None:
    result = run("list", "-o", "name", nomad=Cluster([], error=True), kubernetes=Cluster([job("new", 1)]))
    assert result.exit_code == exit_codes.LATER
    assert result.stdout == "new\n"
    assert "the jobs of nomad cannot be listed completely: the API server does not answer" in result.stderr


@pytest.mark.parametrize(
    ("end", "exit_code", "said"),
    [
        ({"phase": "succeeded", "main_exit": 0}, 0, "succeeded, code 0"),
        ({"phase": "failed", "main_exit": 3}, 6, "analyzer_failed, code 5107"),
        ({"phase": "failed", "cancelled": True}, 7, "cancelled, code 5000"),
        (None, 6, "deleted, code 5109"),
        ({"phase": "running", "identity": "another"}, 6, "deleted, code 5109"),
    ],
)
def test_waiting_for_an_end(
    end: dict[str, Any] | None, exit_code: int, said: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "WAIT_SECONDS", 0)
    cluster = Cluster([job("new", 1)])
    cluster.next = [job("new", 2, phase="running"), job("new", 3, **end) if end else None]
    result = run("wait", "new", kubernetes=cluster)
    assert result.exit_code == exit_code
    assert said in result.stdout


def test_a_wait_ends_in_time(run: Run) -> None:
    result = run("wait", "runs", "--timeout", "0s", kubernetes=Cluster(JOBS))
    assert result.exit_code == exit_codes.LATER
    assert "runs has not ended; it is running" in result.stderr
