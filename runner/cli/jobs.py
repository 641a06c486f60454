"""`jobs`: lists, shows and cancels jobs. Asks the clusters themselves, so it works while the Orchestrator is down."""

from __future__ import annotations

import time
from collections.abc import Iterator

import click

from runner.cli.configuration import config_option, load_or_exit
from runner.drivers.driver import Driver
from runner.errors import Rejected
from runner.jobs import Cancellation, Report
from runner.observation import Observation
from runner.outcomes import classify
from runner.runtime.clock import Deadline, SystemClock

CANCEL_SECONDS = 15.0


@click.group()
def jobs() -> None:
    """List, show and cancel jobs. Needs the configuration, not a running Orchestrator."""


name_argument = click.argument("name")


@jobs.command("list")
@config_option
@click.option("--all", "every", is_flag=True, help="Also jobs whose end has been reported to atlas.")
def list_jobs(path: str | None, every: bool) -> None:
    """A line for each job, the newest last."""
    seen = sorted((job for job in _observed(path) if every or not job.reported), key=lambda job: job.created)
    for job in seen:
        click.echo(f"{_age(job):>6}  {_state(job):<17}  {job.driver:<10}  {job.name}")
    if not seen:
        click.echo("There are no jobs.", err=True)


@jobs.command()
@name_argument
@config_option
def show(name: str, path: str | None) -> None:
    """Everything known of one job, and why it ended as it did."""
    job = next((job for job in _observed(path) if job.name == name), None)
    if job is None:
        raise Rejected(f"there is no job {name}; see `jobs list --all`")
    click.echo("\n".join(f"{label:<10} {value}" for label, value in _facts(job) if value))


@jobs.command()
@name_argument
@config_option
@click.option("--container", default="", help="coat or marvin.  [default: the main one, once it has started]")
@click.option("--lines", default=200, show_default=True, type=click.IntRange(1, 1_000_000))
def logs(name: str, path: str | None, container: str, lines: int) -> None:
    """The last lines that a job has printed."""
    _, driver = _find(name, path)
    click.echo(driver.logs(name, container, lines), nl=False)


@jobs.command()
@name_argument
@config_option
def cancel(name: str, path: str | None) -> None:
    """Stop a job for good; a repeat of its request will not start it again."""
    job, driver = _find(name, path)
    report = job.report or Report(request_type="", run_id=name, path="", task="", scope="")
    cancellation = Cancellation(name=name, labels={"application": name, "manager": "runner"}, report=report)
    state = driver.cancel(cancellation, Deadline.after(CANCEL_SECONDS, SystemClock()), tombstone=False)
    click.echo("It had ended already." if state == "exists" else "It is being stopped.")


def _drivers(path: str | None) -> dict[str, Driver]:
    config = load_or_exit(path)
    from runner import composition

    return composition.drivers(config)


def _observed(path: str | None) -> Iterator[Observation]:
    for driver in _drivers(path).values():
        yield from driver.list()


def _find(name: str, path: str | None) -> tuple[Observation, Driver]:
    for driver in _drivers(path).values():
        for job in driver.list():
            if job.name == name:
                return job, driver
    raise Rejected(f"there is no job {name}; see `jobs list --all`")


def _state(job: Observation) -> str:
    outcome = classify(job)
    return outcome.reason if outcome else job.phase


def _age(job: Observation) -> str:
    seconds = max(0, int(SystemClock().wall() - job.created))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _facts(job: Observation) -> list[tuple[str, str]]:
    outcome = classify(job)
    report = job.report
    return [
        ("name", job.name),
        ("driver", f"{job.driver}, pool {job.pool}"),
        ("request", f"{report.request_type}, run {report.run_id}" if report else ""),
        ("created", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.created))),
        ("ended", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.ended)) if job.ended else ""),
        ("state", _state(job)),
        ("code", str(outcome.code) if outcome else ""),
        ("meaning", outcome.hmessage if outcome else ""),
        ("reported", "yes, to atlas" if job.reported else ""),
        ("evidence", outcome.err.replace("\n", "\n" + " " * 11) if outcome else ""),
    ]
