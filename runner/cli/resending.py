"""`jobs resend`: atlas gets results again, under the same ids, where it has lost them or refused them."""

from __future__ import annotations

from collections.abc import Iterator

import click
import msgspec

from runner.cli.configuration import config_option, load_or_exit
from runner.cli.known import drivers, find, now
from runner.cli.listing import Duration
from runner.config.types import Config
from runner.errors import Conflict, OrchestratorError, Rejected
from runner.observation import Observation
from runner.outcomes import classify
from runner.tracker.results import result_ids


@click.command()
@click.argument("name", default="")
@config_option
@click.option("--since", type=Duration(), help="All results of jobs that ended in this time: 90s, 30m, 2h, 7d.")
@click.option("--set-aside", is_flag=True, help="All results that atlas has refused for good.")
def resend(name: str, path: str | None, since: float | None, set_aside: bool) -> None:
    """Publish the result of a job again, or all results of a time, or all that were set aside.

    The tracker publishes them within seconds, under the same ids: atlas ignores those that it has. With both --since
    and --set-aside, a result is published again if both hold.
    """
    if bool(name) == bool(since is not None or set_aside):
        raise click.UsageError("give either a job's name, or --since or --set-aside")
    config = load_or_exit(path)
    if name:
        known = find(config, name)
        if reason := _refusal(known.seen):
            raise Rejected(f"{name} {reason}")
        if not known.driver.resend(known.seen):
            raise Conflict(f"{name} has just changed; see `jobs show {name}` and repeat the command")
        click.echo("The tracker publishes it again.")
        return
    _resend_all(config, since, set_aside=set_aside)


def _resend_all(config: Config, since: float | None, *, set_aside: bool) -> None:
    """Print the name of each job whose result is published again. A cluster that cannot be read hides no other."""
    number, failures = 0, []
    for driver_name, driver in drivers(config).items():
        try:
            for seen in _wanted(list(driver.list()), since, set_aside=set_aside):
                if driver.resend(seen):
                    number += 1
                    click.echo(seen.name)
        except OrchestratorError as error:
            click.echo(f"not all results of {driver_name} are published again: {error.detail}", err=True)
            failures.append(error)
    click.echo(f"The tracker publishes {number} result(s) again.", err=True)
    if failures:
        raise failures[-1]


def _wanted(jobs: list[Observation], since: float | None, *, set_aside: bool) -> Iterator[Observation]:
    for seen in jobs:
        ended = seen.ended or seen.created
        recent = since is None or now() - ended <= since
        if recent and (seen.set_aside or not set_aside) and not _refusal(seen):
            yield seen


def _refusal(seen: Observation) -> str:
    """Why nothing can be sent again; empty if something can."""
    outcome = classify(seen)
    if outcome is None:
        return "has not ended; wait for its end: `jobs wait`"
    if not result_ids(msgspec.structs.replace(seen, published=""), outcome):
        return "has published its result itself, so there is nothing to send again; a new run needs a new request"
    if not seen.reported:
        return "has a result that is pending: the tracker sends it until atlas accepts it; see `jobs explain`"
    return ""
