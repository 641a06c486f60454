"""`python -m examples.configuration DIRECTORY`: keys, and the smallest configuration that runs jobs on this host.

An ordinary user can run it: everything that the Orchestrator writes is in DIRECTORY.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
import yaml

from examples.atlas import keys

HERE = Path(__file__).resolve().parent
RUNNER_ID = "runner-1"
ATLAS_URL = "http://127.0.0.1:8090"
"""Where `python -m examples.atlas serve` listens."""

Document = dict[str, Any]


def images() -> Document:
    """The programs of this tree that stand for the images. They run with the Python that runs this one."""
    coat, marvin = ({"command": [sys.executable, str(HERE / name)]} for name in ("coat", "marvin"))
    return {"coat": coat, "marvin-*": marvin, "bumblebee": marvin}


def smallest(directory: Path, runner_key: str, atlas_public_key: str) -> Document:
    """The content of the configuration file; the keys are PEM."""
    return {
        "runner": {"id": RUNNER_ID, "privateKey": runner_key},
        "deepsource": {"host": ATLAS_URL, "publicKey": atlas_public_key},
        "sidecar": {"socket": str(directory / "runner.sock")},
        "local": {"directory": str(directory / "jobs"), "images": images()},
    }


def write(document: Document, path: Path) -> None:
    """Save a configuration, readable by its owner only: it has a private key. Raises FileExistsError."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        yaml.dump(document, file, Dumper=_WithoutAliases, sort_keys=False)


class _WithoutAliases(yaml.SafeDumper):
    """Writes a value that occurs twice in full, for people."""

    def ignore_aliases(self, data: Any) -> bool:
        """Whether to write `data` in full."""
        return True


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def main(directory: Path) -> None:
    """Write two RSA key pairs and orchestrator.yaml to DIRECTORY. Overwrites nothing."""
    directory = directory.absolute()
    runner, atlas = keys.make(), keys.make()
    try:
        for pair, name in ((runner, "runner"), (atlas, "atlas")):
            keys.write(pair, directory, name)
        write(smallest(directory, runner.private, atlas.public), directory / "orchestrator.yaml")
    except FileExistsError as error:
        raise click.ClickException(f"{error.filename} exists already; name another directory") from error
    click.echo(directory / "orchestrator.yaml")


if __name__ == "__main__":
    main()
