"""`python -m examples.atlas`: serve results, make keys, send a task."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import IO

import click

from examples.atlas import keys as key_pairs
from examples.atlas.application import application
from examples.atlas.orchestrator import PATHS, NotAccepted, Orchestrator
from examples.atlas.runs import Runs
from examples.atlas.server import serving
from examples.atlas.tokens import Verifier, signer

existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A control plane small enough to read. It forgets all when it ends.

    \b
    1.  python -m examples.atlas keys keys
    2.  python -m examples.atlas serve --runner-id runner-1 --runner-key keys/runner.pub.pem
    3.  start the Orchestrator: keys/runner.pem is its runner.privateKey, keys/atlas.pub.pem
        its deepsource.publicKey, and the URL that `serve` names its deepsource.host
    4.  python -m examples.atlas send analysis examples/analysis.json
            --runner-id runner-1 --key keys/atlas.pem --to http://127.0.0.1:8080
    """  # noqa: D301  (click wants a real backspace before lines that it is to leave alone)


@main.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def keys(directory: Path) -> None:
    """Make two RSA key pairs in DIRECTORY: the runner's and atlas's. Overwrites nothing."""
    try:
        for name in ("runner", "atlas"):
            for path in key_pairs.write(key_pairs.make(), directory, name):
                click.echo(path)
    except FileExistsError as error:
        raise click.ClickException(f"{error.filename} is there already") from error


@main.command()
@click.option("--bind", default="127.0.0.1:8090", show_default=True, help="HOST:PORT to listen at.")
@click.option("--runner-id", required=True, help="Whose results to take: runner.id in its file.")
@click.option("--runner-key", required=True, type=existing_file, help="Its public key, PEM.")
def serve(bind: str, runner_id: str, runner_key: Path) -> None:
    """Take results and show them on a page, until Ctrl-C."""
    host, _, port = bind.rpartition(":")
    verifier = Verifier(runner_key.read_text(), runner_id)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with serving(application(Runs(), verifier), host or "127.0.0.1", int(port)) as url:
        click.echo(f"Results and snippets are taken at {url}; the page is {url}/")
        click.echo(f"Snippet storage: type http, bucket {url}/snippets")
        try:
            signal.pause()
        except KeyboardInterrupt:
            click.echo("Ended; nothing is kept.")


@main.command()
@click.argument("kind", type=click.Choice(sorted(PATHS)))
@click.argument("file", type=click.File("r"))
@click.option("--to", "url", default="http://127.0.0.1:8080", show_default=True, help="Its URL.")
@click.option("--runner-id", required=True, help="Whom the task is for: runner.id in its file.")
@click.option("--key", required=True, type=existing_file, help="atlas's private key, PEM.")
@click.option("--patience", default=60.0, show_default=True, help="Seconds to go on repeating.")
def send(
    kind: str,
    file: IO[str],
    url: str,
    runner_id: str,
    key: Path,
    patience: float,
) -> None:
    """Send the task in FILE (JSON; - is standard input) to it until it is accepted."""
    orchestrator = Orchestrator(url, signer(key.read_text(), runner_id))
    try:
        jobs = orchestrator.send(kind, json.load(file), patience, _say_repeating)
    except (NotAccepted, ValueError) as error:
        raise click.ClickException(str(error)) from error
    for job in jobs:
        click.echo(f"{job['state']:<10} {job['driver']:<10} {job['name']}")


def _say_repeating(reason: str, seconds: float) -> None:
    click.echo(f"{reason}; again in {seconds:g} s", err=True)


if __name__ == "__main__":
    main()
