"""`jobs reconcile --dry-run`: a line for each step, of every cluster that can be read; without --dry-run a refusal."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from runner.cli import main as command_line
from runner.cli import reconciling
from runner.drivers.driver import Due, Retention
from runner.drivers.memory import MemoryDriver
from runner.errors import Unavailable
from runner.runtime import exit_codes
from tests.harness.clock import ManualClock

CONFIG = SimpleNamespace(limits=SimpleNamespace(retention_seconds=60), tracker=SimpleNamespace(orphan_seconds=600))


class Planned(MemoryDriver):
    """Has these steps due."""

    def __init__(self, *steps: Due) -> None:
        super().__init__(resolve_secrets=lambda _: {}, clock=ManualClock())
        self.steps = steps
        self.asked: list[Retention] = []

    def due(self, expired: Retention) -> tuple[Due, ...]:
        self.asked.append(expired)
        return self.steps


class Unreadable(Planned):
    def due(self, expired: Retention) -> tuple[Due, ...]:
        raise Unavailable("the API server does not answer")


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(*arguments: str, **drivers: Planned) -> Result:
        monkeypatch.setattr(reconciling, "load_or_exit", lambda _path: CONFIG)
        monkeypatch.setattr(reconciling, "drivers", lambda _config: drivers)
        return CliRunner().invoke(command_line, ["jobs", "reconcile", *arguments])

    return run


def test_a_line_for_each_step(run: Run) -> None:
    local = Planned(Due("a", "", "start", "it waits"), Due("b", "", "remove", "token=hunter2hunter2\nold"))
    result = run("--dry-run", nomad=Planned(Due.settling("c", "ci")), local=local)
    assert (result.exit_code, result.output.splitlines()) == (
        0,
        [
            "settle  c  nomad ci  another engine did not answer when its name was taken",
            "start   a  local  it waits",
            "remove  b  local  token=*** old",
        ],
    )
    assert local.asked == [Retention(60, 600)]


def test_a_cluster_that_cannot_be_read_hides_no_other(run: Run) -> None:
    result = run("--dry-run", kubernetes=Unreadable(), local=Planned(Due("a", "", "start", "it waits")))
    assert result.exit_code == exit_codes.LATER
    assert "start   a  local  it waits" in result.output
    assert "the jobs of kubernetes cannot be read completely: the API server does not answer" in result.output


def test_without_dry_run_it_refuses(run: Run) -> None:
    driver = Planned(Due("a", "", "start", "it waits"))
    result = run(local=driver)
    assert (result.exit_code, driver.asked) == (exit_codes.USAGE, [])
    assert "only the tracker that leads reconciles" in result.output


def test_where_nothing_is_to_be_done_that_is_said(run: Run) -> None:
    result = run("--dry-run", local=Planned())
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "Nothing is to be done: each job is in the state that it should have.\n"
