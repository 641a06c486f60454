"""The command line: starting the Orchestrator, looking into it, and sending it a request by hand.

One module per group of commands. Each command builds what it needs and says what went wrong in one sentence; the exit
codes are in the help of the group.
"""

from __future__ import annotations

import sys

import click

from runner import __version__
from runner.cli.configuration import check_config, section
from runner.cli.jobs import jobs
from runner.cli.processes import metrics, serve, track, up
from runner.cli.requests import render, submit
from runner.cli.token import token
from runner.errors import OrchestratorError
from runner.runtime import exit_codes
from runner.security.masking import shown

_EXIT_CODES = {"internal": exit_codes.DEFECT} | dict.fromkeys(("busy", "unavailable", "timeout"), exit_codes.LATER)


class _Group(click.Group):
    """Turns our errors into a sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except OrchestratorError as error:
            for problem in error.problems:
                click.echo(shown(f"  {problem.pointer or '/'} {problem.message}"), err=True)
            message = error.detail if not error.problems else f"{len(error.problems)} problem(s) to fix"
            click.echo(shown(f"{error.code}: {message}"), err=True)
            sys.exit(_EXIT_CODES.get(error.code, exit_codes.REFUSED))


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="orchestrator", message="%(prog)s %(version)s")
def main() -> None:
    """Runs code-analysis tasks as jobs on Kubernetes, Nomad or this host.

    \b
    To start everything that a configuration names:   python -m runner up --config FILE
    To see what a request would create:               python -m runner render analysis FILE
    To make a token for trying things out:            python -m runner token --key FILE
    To list the jobs:                                 python -m runner jobs list

    \b
    Exit codes:  0  done
                 1  internal error (please report it)
                 2  the command line was wrong
                 3  the configuration is wrong
                 4  the request was refused, or will never succeed as it is
                 5  not now: busy, unavailable or timed out; the same command may succeed later
    """  # noqa: D301  (the escape is meant: click leaves a paragraph alone that begins with this character)


for command in (up, serve, track, metrics, check_config, section, render, token, submit, jobs):
    main.add_command(command)
