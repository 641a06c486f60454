"""`jobs logs`: the last lines that a job has printed, or all lines, as they are printed."""

from __future__ import annotations

import signal

import click

from runner.cli.configuration import config_option, load_or_exit
from runner.cli.known import Known, find
from runner.security.masking import printable

LINES = 200


@click.command()
@click.argument("name")
@config_option
@click.option("--container", default="", help="coat or marvin.  [default: the main one, once it has started]")
@click.option("--lines", type=click.IntRange(1, 1_000_000), help=f"How many of the last lines.  [default: {LINES}]")
@click.option("-f", "--follow", is_flag=True, help="All lines of all containers, as they are printed, until its end.")
def logs(name: str, path: str | None, container: str, lines: int | None, follow: bool) -> None:
    """The last lines that a job has printed; with -f all of them, until it has ended.

    With -f, a job that waits is waited for, and a connection that breaks is made again. The names of the containers are
    printed on standard error. Credentials are masked.
    """
    if follow and lines is not None:
        raise click.UsageError("-f prints all lines: leave --lines out")
    known = find(load_or_exit(path), name)
    if follow:
        _follow(known, container)
    else:
        click.echo(printable(known.driver.logs(name, container, lines or LINES)), nl=False)


def _follow(known: Known, container: str) -> None:
    """Print what comes at once. An interrupt ends the process: a transfer would take it for its own end."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    last = ""

    def received(container: str, text: str) -> None:
        nonlocal last
        if container != last:
            click.echo(f"==> {container} <==", err=True)
            last = container
        click.echo(printable(text), nl=False)

    known.driver.follow_logs(known.seen, received, container)
