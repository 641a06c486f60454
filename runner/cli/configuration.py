"""`check-config`, and the option by which every command finds its configuration."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from runner import config as configuration
from runner import exit_codes
from runner.errors import OrchestratorError
from runner.settings import Config

config_option = click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False),
    help=f"The configuration file.  [default: ${configuration.PATH_VARIABLE}, else {configuration.DEFAULT_PATH}]",
)


def load_or_exit(path: str | None) -> Config:
    """The configuration, or exit 3 after naming everything that is wrong with it."""
    located = configuration.locate(path, os.environ)
    try:
        return configuration.load(located, os.environ)
    except OrchestratorError as error:
        _complain(located, error)
        sys.exit(exit_codes.CONFIGURATION)


def _complain(path: Path, error: OrchestratorError) -> None:
    if not error.problems:
        click.echo(error.detail, err=True)
        return
    click.echo(f"{path} has {len(error.problems)} error(s):", err=True)
    for problem in error.problems:
        click.echo(f"  {_dotted(problem.pointer)} {problem.message}", err=True)


def _dotted(pointer: str) -> str:
    """A JSON pointer as people write a key: /runner/id is runner.id."""
    parts = pointer.strip("/").split("/")
    return ".".join(part.replace("~1", "/").replace("~0", "~") for part in parts) or "the file"


@click.command("check-config")
@config_option
def check_config(path: str | None) -> None:
    """Say everything that is wrong with the configuration, or what will run where."""
    config = load_or_exit(path)
    from runner.tokens import parse_private_key  # brings in the cryptography library

    try:
        parse_private_key(config.runner.private_key)
    except OrchestratorError as error:
        click.echo(error.detail, err=True)
        sys.exit(exit_codes.CONFIGURATION)
    click.echo("\n".join(_summary(config)))


def _summary(config: Config) -> list[str]:
    protected = "no token needed" if config.http.allow_unauthenticated else "tokens of the control plane"
    pools = list(dict.fromkeys([config.default_pool, *config.pools]))
    return [
        "The configuration is good.",
        f"  we are          {config.runner.id}, for atlas at {config.atlas_url}",
        f"  requests        {', '.join(config.protocols)} on {config.http.bind} ({protected})",
        f"  sidecar         {config.sidecar.workers} workers of {config.sidecar.threads} threads"
        f" at {config.sidecar.socket}",
        *(f"  pool {pool:<10} {_where(config, pool)}{_note(config, pool)}" for pool in pools),
    ]


def _where(config: Config, pool: str) -> str:
    driver = config.driver_of(pool)
    if driver == "local":
        return f"local: in {config.local.directory}, {config.local.parallelism} at a time"
    if driver == "kubernetes":
        settings = config.pools.get(pool)
        return f"kubernetes: namespace {(settings and settings.namespace) or config.cluster.namespace}"
    return driver


def _note(config: Config, pool: str) -> str:
    return "   (whatever names no other pool)" if pool == config.default_pool else ""
