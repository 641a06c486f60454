"""`python -m examples.atlas`: serve results, make keys, send a task."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import IO

import click

from examples.atlas import keys as key_pairs
from examples.atlas.application import application
from examples.atlas.clients.http import HttpClient
from examples.atlas.clients.retry import NotAccepted
from examples.atlas.request_types import REQUEST_TYPES
from examples.atlas.runs import Runs
from examples.atlas.server import serving
from examples.atlas.tokens import Verifier, signer

existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A small control plane. It keeps everything in memory and loses it when it ends.

    \b
    1.  python -m examples.atlas keys keys
    2.  python -m examples.atlas serve --runner-id runner-1 --runner-key keys/runner.pub.pem
    3.  Start the Orchestrator. In its configuration, runner.privateKey is keys/runner.pem,
        deepsource.publicKey is keys/atlas.pub.pem, and deepsource.host is the URL that
        `serve` prints.
    4.  python -m examples.atlas send analysis examples/analysis.json
            --runner-id runner-1 --key keys/atlas.pem --to http://127.0.0.1:8080
    """  # noqa: D301  (click needs a real backspace before lines that it must not wrap)


@main.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def keys(directory: Path) -> None:
    """Make two RSA key pairs in DIRECTORY: the runner's and atlas's. Overwrites nothing."""
    try:
        for name in ("runner", "atlas"):
            for path in key_pairs.write(key_pairs.make(), directory, name):
                click.echo(path)
    except FileExistsError as error:
        raise click.ClickException(f"{error.filename} exists already; name another directory") from error


@main.command()
@click.option("--bind", default="127.0.0.1:8090", show_default=True, help="HOST:PORT to listen on.")
@click.option("--runner-id", required=True, help="Accept results of this runner: runner.id in its configuration.")
@click.option("--runner-key", required=True, type=existing_file, help="The runner's public key, PEM.")
def serve(bind: str, runner_id: str, runner_key: Path) -> None:
    """Accept results and show them on a page, until Ctrl-C."""
    host, _, port = bind.rpartition(":")
    verifier = Verifier(runner_key.read_text(), runner_id)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with serving(application(Runs(), verifier), host or "127.0.0.1", int(port)) as url:
        click.echo(f"Listening on {url}; the page is {url}/")
        click.echo(f"Snippet storage: type http, bucket {url}/snippets")
        try:
            signal.pause()
        except KeyboardInterrupt:
            click.echo("Stopped. Runs and snippets are lost.")


@main.command()
@click.argument("name", type=click.Choice(sorted(REQUEST_TYPES)))
@click.argument("file", type=click.File("r"))
@click.option("--to", "url", default="http://127.0.0.1:8080", show_default=True, help="The Orchestrator's URL.")
@click.option("--runner-id", required=True, help="The runner of the task: runner.id in its configuration.")
@click.option("--key", required=True, type=existing_file, help="atlas's private key, PEM.")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds to go on repeating.")
def send(
    name: str,
    file: IO[str],
    url: str,
    runner_id: str,
    key: Path,
    timeout: float,
) -> None:
    """Send the task in FILE (JSON; - is standard input) until it is accepted."""
    client = HttpClient(url, signer(key.read_text(), runner_id))
    try:
        jobs = client.send(name, json.load(file), timeout, _print_retry)
    except (NotAccepted, ValueError) as error:
        raise click.ClickException(str(error)) from error
    for job in jobs:
        click.echo(f"{job['state']:<10} {job['driver']:<10} {job['name']}")


def _print_retry(reason: str, seconds: float) -> None:
    click.echo(f"{reason}; again in {seconds:g} s", err=True)


if __name__ == "__main__":
    main()
