"""`jobs reconcile --dry-run`: what the tracker would do with jobs that are not in the state that they should have."""

from __future__ import annotations

import click

from runner.cli.configuration import config_option, load_or_exit
from runner.cli.known import drivers
from runner.drivers.driver import Retention
from runner.errors import OrchestratorError
from runner.security.masking import shown


@click.command()
@config_option
@click.option("--dry-run", is_flag=True, help="Required: only the tracker that leads changes jobs.")
def reconcile(path: str | None, dry_run: bool) -> None:
    """What the tracker would do now to bring jobs into the state that they should have; nothing is changed.

    Per job: start (again), end, stop, settle (a claim to its name) or remove (after the retention). On Kubernetes only
    claims are settled: Kubernetes itself ends and removes jobs. Not shown are limits that the tracker measures by what
    it has seen: `jobs explain` has those.
    """
    if not dry_run:
        raise click.UsageError("only the tracker that leads reconciles; add --dry-run to see what it would do")
    config = load_or_exit(path)
    expired = Retention(config.limits.retention_seconds, config.tracker.orphan_seconds)
    failure: OrchestratorError | None = None
    number = 0
    for name, driver in drivers(config).items():
        try:
            for due in driver.due(expired):
                where = f"{name} {due.place}".strip()
                number += 1
                click.echo(f"{due.action:<7} {due.name}  {where}  {' '.join(shown(due.why).split())}")
        except OrchestratorError as error:
            click.echo(f"the jobs of {name} cannot be read completely: {error.detail}", err=True)
            failure = error
    if failure is not None:
        raise failure
    if not number:
        click.echo("Nothing is to be done: each job is in the state that it should have.", err=True)
