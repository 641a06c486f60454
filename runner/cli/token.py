"""`token`: a bearer token for trying things out, as atlas would send it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from runner.cli.configuration import config_option, load_or_exit
from runner.config.types import Config
from runner.errors import OrchestratorError
from runner.runtime.clock import SystemClock

STANDARD_INPUT = Path("-")
LONGEST = 30 * 86400
"""Seconds. It is a token for trying things out."""


@click.command()
@click.option(
    "--key",
    "key_file",
    required=True,
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="The control plane's private key (RSA, PEM), or any key whose public half is in deepsource.publicKey; "
    "- for standard input.",
)
@click.option("--new", is_flag=True, help="Make the key instead, in a new file with mode 0600; print its public half.")
@click.option("--runner-id", help="For which runner.  [default: runner.id of the configuration]")
@click.option(
    "--seconds", default=3600, show_default=True, type=click.IntRange(1, LONGEST), help="How long the token is valid."
)
@config_option
def token(key_file: Path, new: bool, runner_id: str | None, seconds: int, path: str | None) -> None:
    """Print a bearer token, as atlas would send it, for trying things out.

    The token is signed with the private key in a file. An Orchestrator accepts it if the public half of that key is in
    its deepsource.publicKey, and its runner.id is the token's. Until it expires, all who have it can start jobs.

    \b
    If you have no such key, make one, and add what this prints to deepsource.publicKey, which may be a list:
      python -m runner token --new --key trial.pem

    \b
    Then send a request:
      export ORCHESTRATOR_TOKEN="$(python -m runner token --key trial.pem)"
      python -m runner submit analysis examples/analysis.json --url http://127.0.0.1:8080
    """  # noqa: D301  (the escape is meant: click leaves a paragraph alone that begins with this character)
    from runner.security.keys import parse_private_key, public_pem  # late: the cryptography library is slow to load

    if new:
        if key_file == STANDARD_INPUT:
            raise click.BadParameter("--new writes a file: name one", param_hint="--key")
        _make(key_file)
    try:
        key = parse_private_key(_text(key_file), str(key_file))
    except OrchestratorError as error:
        raise click.BadParameter(error.detail, param_hint="--key") from None
    if new:
        click.echo(public_pem(key), nl=False)
        return
    import jwt

    if runner_id is None:
        config = load_or_exit(path)
        runner_id = config.runner.id
        if not _accepts(config, public_pem(key)):
            click.echo("beware: the public half of this key is not in deepsource.publicKey; --help says more", err=True)
    expires = int(SystemClock().wall()) + seconds
    click.echo(jwt.encode({"exp": expires, "runner_id": runner_id}, key, algorithm="RS256"))


def _make(path: Path) -> None:
    from runner.security.keys import new_private_key

    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(new_private_key())
    except FileExistsError as error:
        raise click.BadParameter(f"{path} exists already; leave out --new to use it", param_hint="--key") from error
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be written: {error}", param_hint="--key") from error


def _text(path: Path) -> str:
    try:
        if path == STANDARD_INPUT:
            return sys.stdin.read()
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path} cannot be read: {error}; --new makes one", param_hint="--key") from error


def _accepts(config: Config, public: str) -> bool:
    from runner.security.keys import parse_public_keys, public_pem

    try:
        return public in map(public_pem, parse_public_keys(config.deepsource.public_keys))
    except OrchestratorError:
        return False
