"""`jobs list`: all jobs, or those that an operator asks for, as a table, as names or as JSON."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import click
import msgspec

from runner.cli.configuration import config_option, load_or_exit
from runner.cli.known import age, drivers, explained, now
from runner.config.types import Config
from runner.errors import OrchestratorError
from runner.observation import Observation
from runner.outcomes import in_short
from runner.security.masking import shown
from runner.tracker.advice import ADVICE, State, reason_of, state_of, wait_of

Output = Literal["table", "wide", "json", "name"]

_COLOURS = {"failed": "red", "waiting": "yellow", "running": "cyan", "succeeded": "green", "cancelled": "bright_black"}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PIPED_COLUMNS = 10_000
"""Nothing is cut for a program that reads the lines."""


class Duration(click.ParamType[float]):
    """Like 90s, 30m, 2h or 7d; in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """See ParamType.convert."""
        found = re.fullmatch(r"(\d{1,9})([smhd])", str(value))
        if not found:
            self.fail(f"{value!r} is no duration; write 90s, 30m, 2h or 7d", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


class Filter(msgspec.Struct, frozen=True):
    """Which jobs are asked for. An empty field asks for all."""

    every: bool = False
    states: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    run: str = ""
    pool: str = ""
    since: float | None = None
    """Created in the last so many seconds."""

    def admits(self, job: Observation) -> bool:
        """Whether the job is asked for, before it is explained: the reason of a wait may only be in the events."""
        return (
            (self.every or not job.reported or bool(self.states - {"waiting", "running"} or self.reasons))
            and (not self.states or state_of(job) in self.states)
            and (not self.run or (job.report is not None and job.report.run_id == self.run))
            and (not self.pool or job.pool == self.pool)
            and (self.since is None or now() - job.created <= self.since)
        )

    def admits_reason(self, job: Observation) -> bool:
        """Whether the job, once explained, has a reason that is asked for."""
        return not self.reasons or reason_of(job) in self.reasons


@click.command("list")
@config_option
@click.option("--all", "every", is_flag=True, help="Also jobs whose end has been reported to atlas.")
@click.option("--state", "states", multiple=True, type=click.Choice(get_args(State)), help="May be given repeatedly.")
@click.option(
    "--reason",
    "reasons",
    multiple=True,
    type=click.Choice(sorted(ADVICE)),
    metavar="REASON",
    help="Of a wait or an end, as in docs/outcomes.md: image_unavailable, unschedulable, held, ...",
)
@click.option("--since", type=Duration(), help="Only jobs created in this time: 90s, 30m, 2h, 7d.")
@click.option("--run", default="", metavar="RUN_ID", help="Only the jobs of this run.")
@click.option("--pool", default="", help="Only the jobs of this pool.")
@click.option("--driver", "driver_name", default="", help="Only the jobs of this driver.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(get_args(Output)),
    default="table",
    show_default=True,
    help="wide: also driver, place, pool, run and what was reported. The header is for terminals only.",
)
def list_jobs(path: str | None, driver_name: str, output: Output, **wanted: Any) -> None:
    """A line for each job, the newest last: its state, and why it waits or how it ended.

    A filter by reason or by the state of an ended job also shows jobs that were reported.
    """
    for name in ("states", "reasons"):
        wanted[name] = frozenset(wanted[name])
    unread: list[OrchestratorError] = []
    found = _found(load_or_exit(path), driver_name, Filter(**wanted), unread)
    jobs = sorted(found, key=lambda job: job.created)
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode([_document(job) for job in jobs]), indent=2))
    elif output == "name":
        _print(job.name for job in jobs)
    elif jobs:
        _print(_table(jobs, wide=output == "wide"))
    elif not unread:
        click.echo("There are no jobs." if wanted["every"] else "There are no such jobs; --all shows all.", err=True)
    if unread:
        raise unread[-1]


def _found(config: Config, driver_name: str, wanted: Filter, unread: list[OrchestratorError]) -> Iterator[Observation]:
    """The jobs that are asked for. A cluster that cannot be read hides no other; its error is noted and said."""
    known = drivers(config)
    if driver_name and driver_name not in known:
        raise click.BadParameter(
            f"no pool leads to {driver_name!r}; there is {', '.join(known)}", param_hint="--driver"
        )
    for name, driver in known.items():
        if driver_name not in ("", name):
            continue
        try:
            yield from filter(wanted.admits_reason, explained(driver, filter(wanted.admits, driver.list())))
        except OrchestratorError as error:
            click.echo(f"the jobs of {name} cannot be listed completely: {error.detail}", err=True)
            unread.append(error)


def _print(lines: Iterator[str]) -> None:
    """Print them in one piece: 10,000 lines are one write, and a reader that leaves early ends it quietly."""
    click.echo("\n".join(lines))


def _table(jobs: Sequence[Observation], *, wide: bool) -> Iterator[str]:
    header = (
        "NAME",
        "STATE",
        "REASON",
        "AGE",
        *(("DRIVER", "PLACE", "POOL", "RUN", "REPORTED") if wide else ()),
        "WHY",
    )
    rows = [_cells(job, wide=wide) for job in jobs]
    terminal = sys.stdout.isatty()
    shown = [header, *rows] if terminal else rows
    widths = [max(len(row[column]) for row in shown) for column in range(len(header) - 1)]
    columns = shutil.get_terminal_size().columns if terminal and not wide else _PIPED_COLUMNS
    for row in shown:
        line = "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        line = line if len(line) <= columns else f"{line[: columns - 1]}…"
        yield _coloured(line, row[1]) if terminal else line


def _coloured(line: str, state: str) -> str:
    """The line with its state in colour. `click.echo` removes colours where the output is no terminal."""
    if state not in _COLOURS:
        return click.style(line, bold=True)
    before, found, after = line.partition(f"  {state}")
    return before + click.style(found, fg=_COLOURS[state]) + after


def _cells(job: Observation, *, wide: bool) -> tuple[str, ...]:
    run = job.report.run_id if job.report else ""
    more = (job.driver, job.place, job.pool, run, _reported(job)) if wide else ()
    return (job.name, state_of(job), reason_of(job), age(job.created), *more, _why(job))


def _why(job: Observation) -> str:
    """One line: why it waits, or the sentence about its end."""
    wait, outcome = wait_of(job), in_short(job)
    text = wait.text if wait else outcome.hmessage if outcome and outcome.code else ""
    return " ".join(shown(text).split())


def _reported(job: Observation) -> str:
    return "set aside" if job.set_aside else "yes" if job.reported else "no"


def _document(job: Observation) -> dict[str, Any]:
    """A job as JSON. Fields may be added; times are seconds since the epoch."""
    outcome, report = in_short(job), job.report
    return {
        "name": job.name,
        "state": state_of(job),
        "reason": reason_of(job),
        "why": _why(job),
        "code": outcome.code if outcome else None,
        "driver": job.driver,
        "place": job.place,
        "pool": job.pool,
        "request_type": report.request_type if report else None,
        "run_id": report.run_id if report else None,
        "created": job.created,
        "ended": job.ended,
        "cancelled": job.cancelled,
        "reported": job.reported,
        "set_aside": job.set_aside,
    }
