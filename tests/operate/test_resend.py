"""`jobs resend`: which results are published again, and what is said where there is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from runner.cli import known, resending
from runner.cli import main as command_line
from runner.drivers.memory import MemoryDriver
from runner.errors import Unavailable
from runner.observation import Observation
from runner.outcomes import classify
from runner.runtime import exit_codes
from tests.conformance import jobs
from tests.harness.deadlines import within
from tests.harness.tasks import SteppedTasks

Run = Callable[..., Result]


class Jobs:
    """The memory driver, with jobs in every state."""

    def __init__(self) -> None:
        self.clock = SteppedTasks()
        self.driver = MemoryDriver(resolve_secrets=lambda _: {}, clock=self.clock)

    def add(self, name: str, *, exit_code: int | None = 3, mark: str = "") -> None:
        """A job; without an exit code it runs. `mark`: `reported` or `aside`."""
        self.driver.submit(jobs.job("i", name=name), within(5))
        if exit_code is not None:
            self.driver.finish(name, main_exit=exit_code)
        outcome = classify(self.seen(name))
        if mark and outcome:
            marks = self.driver.mark_reported if mark == "reported" else self.driver.set_aside
            assert marks(self.seen(name), outcome)

    def seen(self, name: str) -> Observation:
        return next(each for each in self.driver.list() if each.name == name)

    def pending(self) -> list[str]:
        """The jobs that a tracker would publish now because their result was asked for again."""
        return [each.name for each in self.driver.list() if each.resent and not each.reported]


@pytest.fixture
def known_jobs() -> Jobs:
    found = Jobs()
    found.add("old", mark="reported")
    found.clock.advance(7200)
    found.add("reported", mark="reported")
    found.add("aside", mark="aside")
    found.add("pending")
    found.add("runs", exit_code=None)
    found.add("succeeded", exit_code=0, mark="reported")
    return found


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, known_jobs: Jobs) -> Run:
    def run(*arguments: str, **others: MemoryDriver) -> Result:
        for module in (resending, known):
            monkeypatch.setattr(module, "drivers", lambda _config: {**others, "memory": known_jobs.driver})
        monkeypatch.setattr(resending, "now", known_jobs.clock.wall)
        monkeypatch.setattr(resending, "load_or_exit", lambda _path: None)
        return CliRunner().invoke(command_line, ["jobs", "resend", *arguments])

    return run


@pytest.mark.parametrize("name", ["reported", "aside", "old"])
def test_the_result_of_one_job(name: str, run: Run, known_jobs: Jobs) -> None:
    result = run(name)
    assert (result.exit_code, result.output) == (0, "The tracker publishes it again.\n")
    assert known_jobs.pending() == [name]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("runs", "has not ended"),
        ("pending", "has a result that is pending"),
        ("succeeded", "has published its result itself"),
        ("unknown", "there is no job"),
    ],
)
def test_where_there_is_nothing_to_send_again(name: str, said: str, run: Run, known_jobs: Jobs) -> None:
    result = run(name)
    assert result.exit_code == exit_codes.REFUSED
    assert said in result.output
    assert known_jobs.pending() == []


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--set-aside"], ["aside"]),
        (["--since", "1h"], ["reported", "aside"]),
        (["--since", "1d"], ["old", "reported", "aside"]),
        (["--since", "1h", "--set-aside"], ["aside"]),
    ],
)
def test_the_results_of_many(options: list[str], wanted: list[str], run: Run, known_jobs: Jobs) -> None:
    result = run(*options)
    assert (result.exit_code, result.stdout.split()) == (0, wanted)
    assert f"{len(wanted)} result(s)" in result.stderr
    assert known_jobs.pending() == wanted


def test_a_cluster_that_cannot_be_read_hides_no_other(run: Run, known_jobs: Jobs) -> None:
    class Unreadable(MemoryDriver):
        def list(self) -> list[Observation]:
            raise Unavailable("the API server does not answer")

    result = run("--set-aside", kubernetes=Unreadable(resolve_secrets=lambda _: {}, clock=known_jobs.clock))
    assert result.exit_code == exit_codes.LATER
    assert "not all results of kubernetes" in result.stderr
    assert known_jobs.pending() == ["aside"]


@pytest.mark.parametrize("arguments", [[], ["reported", "--set-aside"], ["reported", "--since", "1h"]])
def test_a_name_or_a_choice_is_needed(arguments: list[str], run: Run, known_jobs: Jobs) -> None:
    assert run(*arguments).exit_code == exit_codes.USAGE
    assert known_jobs.pending() == []
