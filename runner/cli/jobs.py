"""`jobs`: lists, shows, cancels and resends jobs. Asks the clusters, so it works while the Orchestrator is down."""

from __future__ import annotations

import sys

import click
import msgspec

from runner.cli.answers import last_answer
from runner.cli.configuration import config_option, load_or_exit
from runner.cli.explaining import explain
from runner.cli.known import duration, find, moment
from runner.cli.listing import Duration, list_jobs
from runner.cli.printing_logs import logs
from runner.cli.reconciling import reconcile
from runner.cli.resending import resend
from runner.config.types import LimitsSection
from runner.errors import Timeout
from runner.jobs import Cancellation, Report
from runner.observation import Observation
from runner.outcomes import classify
from runner.runtime.clock import Deadline, SystemClock
from runner.security.masking import shown
from runner.tracker.advice import limit_of, state_of, wait_of

CANCEL_SECONDS = 15.0

WAIT_SECONDS = 1.0
"""Between two readings of the job by `jobs wait`."""

EXIT_FAILED = 6
_EXIT_CODES = {"succeeded": 0, "cancelled": 7}
"""The exit codes of `jobs wait`, by the state of the job. Any other state is EXIT_FAILED."""


@click.group()
def jobs() -> None:
    """List, show, cancel and resend jobs. Needs the configuration, not a running Orchestrator."""


jobs.add_command(list_jobs)
jobs.add_command(logs)
jobs.add_command(explain)
jobs.add_command(reconcile)
jobs.add_command(resend)
name_argument = click.argument("name")


@jobs.command()
@name_argument
@config_option
def show(name: str, path: str | None) -> None:
    """Everything known of one job, and why it ended as it did."""
    config = load_or_exit(path)
    seen = find(config, name).explained()
    facts = _facts(seen, config.limits, last_answer(config, seen))
    click.echo("\n".join(f"{label:<10} {_indented(value)}" for label, value in facts if value))


@jobs.command()
@name_argument
@config_option
def cancel(name: str, path: str | None) -> None:
    """Stop a job for good; a repeat of its request will not start it again."""
    known = find(load_or_exit(path), name)
    report = known.seen.report or Report(request_type="", run_id=name, path="", task="", scope="")
    cancellation = Cancellation(name=name, labels={"application": name, "manager": "runner"}, report=report)
    state = known.driver.cancel(cancellation, Deadline.after(CANCEL_SECONDS, SystemClock()), tombstone=False)
    click.echo("It had ended already." if state == "exists" else "It is being stopped.")


@jobs.command()
@name_argument
@config_option
@click.option("--timeout", type=Duration(), help="Give up after this time: 90s, 30m, 2h.  [default: never]")
def wait(name: str, path: str | None, timeout: float | None) -> None:
    """Wait until a job has ended, and print how.

    \b
    Exit codes:  0  it succeeded
                 5  it had not ended in the time allowed
                 6  it failed
                 7  it was cancelled
    """  # noqa: D301  (the escape is meant: click leaves a paragraph alone that begins with this character)
    known = find(load_or_exit(path), name)
    seen, clock = known.seen, SystemClock()
    until = clock.monotonic() + timeout if timeout is not None else None
    while (outcome := classify(seen)) is None:
        if until is not None and clock.monotonic() >= until:
            raise Timeout(f"{name} has not ended; it is {state_of(seen)}")
        clock.sleep(WAIT_SECONDS)
        found = known.driver.find(seen)
        same = found is not None and found.identity == seen.identity
        seen = found if found and same else msgspec.structs.replace(seen, phase="gone")
    click.echo(f"{name} ended: {outcome.reason}, code {outcome.code}. {outcome.hmessage}")
    sys.exit(_EXIT_CODES.get(state_of(seen), EXIT_FAILED))


def _facts(job: Observation, limits: LimitsSection, answer: str) -> list[tuple[str, str]]:
    outcome, wait, report = classify(job), wait_of(job), job.report
    return [
        ("name", job.name),
        ("driver", f"{job.driver} {job.place}".strip() + f", pool {job.pool}"),
        ("request", f"{report.request_type}, run {report.run_id}" if report else ""),
        ("request id", report.request_id if report else ""),
        ("trace", (report.traceparent or "")[3:35] if report else ""),
        ("created", moment(job.created)),
        ("ended", moment(job.ended) if job.ended else ""),
        ("state", state_of(job)),
        ("waits for", wait.text if wait else ""),
        ("until", _until(job, limits)),
        ("reason", outcome.reason if outcome else ""),
        ("code", str(outcome.code) if outcome else ""),
        ("meaning", outcome.hmessage if outcome else ""),
        ("reported", "no, set aside: atlas refused it" if job.set_aside else "yes, to atlas" if job.reported else ""),
        ("atlas", answer),
        ("evidence", outcome.err if outcome else ""),
    ]


def _indented(value: str) -> str:
    return shown(value).replace("\n", "\n" + " " * 11)


def _until(job: Observation, limits: LimitsSection) -> str:
    """What ends its wait, and when."""
    if (limit := limit_of(job, limits)) is None:
        return ""
    return f"{moment(limit.at) if limit.at else duration(limit.seconds) + ' of this'} ({limit.key})"
