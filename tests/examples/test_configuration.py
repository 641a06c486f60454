"""The README's commands after `make demo`: an ordinary user gets from nothing to a job that ended."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.atlas.application import application
from examples.atlas.clients.http import HttpClient
from examples.atlas.runs import Runs
from examples.atlas.server import serving
from examples.atlas.tokens import Verifier, signer
from tests.conftest import ROOT
from tests.harness.processes import Processes, eventually, free_port

NOBODY = 65534

OPEN = """set -e
mount -t tmpfs none /mnt
for place in $PLACES; do mkdir -p /mnt$place; mount --bind $place /mnt$place; done
for place in $CLOSED; do mount -t tmpfs -o mode=755 none $place; done
for place in $PLACES; do mkdir -p $place; mount --bind /mnt$place $place; done
exec setpriv --reuid=NOBODY --regid=NOBODY --clear-groups --inh-caps=-all "$@"
""".replace("NOBODY", str(NOBODY))
"""Runs a command as nobody, in a mount namespace in which a Python in root's home can be read."""


def _closed(place: Path) -> Path | None:
    """The first directory on the way that other users may not enter."""
    return next((each for each in reversed(place.parents) if not each.stat().st_mode & 0o001), None)


PLACES = [place for place in (Path(sys.base_prefix), Path(sys.prefix), ROOT) if _closed(place)]
VARIABLES = {
    "PATH": os.environ["PATH"],
    "PYTHONDONTWRITEBYTECODE": "1",
    "PLACES": " ".join(map(str, PLACES)),
    "CLOSED": " ".join({str(_closed(place)) for place in PLACES}),
}
AS_USER = ("unshare", "--mount", "/bin/sh", "-c", OPEN, "sh") if os.geteuid() == 0 else ()


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of the ordinary user. The paths of pytest's directories are too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="home-") as path:
        if AS_USER:
            os.chown(path, NOBODY, NOBODY)
        yield Path(path)


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def configuration(home: Path, runs: Runs) -> Iterator[Path]:
    """As the command writes it, but with ports of this test; atlas listens."""
    ended = ours("examples.configuration", str(home / "example"))
    assert ended.returncode == 0, ended.stderr
    path = Path(ended.stdout.strip())
    document = yaml.safe_load(path.read_text())
    verifier = Verifier((path.parent / "runner.pub.pem").read_text(), document["runner"]["id"])
    with serving(application(runs, verifier)) as url:
        document["deepsource"]["host"] = url
        document["http"] = {"bind": f"127.0.0.1:{free_port()}"}
        path.write_text(yaml.safe_dump(document))
        yield path


def ours(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m ARGUMENTS` in the tree, as an ordinary user."""
    command = [*AS_USER, sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, env=VARIABLES, capture_output=True, text=True)


def test_an_ordinary_user_runs_the_smallest_configuration(
    configuration: Path, runs: Runs, processes: Processes, sample: Callable[[str], dict[str, Any]]
) -> None:
    checked = ours("runner", "check-config", "--config", str(configuration))
    assert checked.stdout.startswith("The configuration is good.\n"), checked.stdout + checked.stderr

    command = (*AS_USER, sys.executable, "-m", "runner", "up", "--config", str(configuration))
    up = processes.command(*command, name="up", **VARIABLES)
    bind = yaml.safe_load(configuration.read_text())["http"]["bind"]
    client = HttpClient(f"http://{bind}", signer((configuration.parent / "atlas.pem").read_text(), "runner-1"))
    request = sample("analysis")
    request["vcs_meta"]["remote_url"] = "https://127.0.0.1:9/nothing.git"
    (job,) = client.send("analysis", request, 30, lambda reason, seconds: None)
    assert job["state"] == "created"

    run = eventually(lambda: runs.get(request["run_id"]), f"atlas has a result; {up.log}", 30)
    assert run.results[0].code == 5103  # clone_failed: nothing listens there
    listed = ours("runner", "jobs", "list", "--all", "--config", str(configuration))
    assert "clone_failed" in listed.stdout, listed.stderr
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in up.family()} == {NOBODY if AS_USER else os.geteuid()}


def test_the_configuration_and_its_keys_are_readable_by_their_owner_only(home: Path) -> None:
    assert ours("examples.configuration", str(home / "example")).returncode == 0
    secret = [path.name for path in (home / "example").iterdir() if not path.stat().st_mode & 0o077]
    assert sorted(secret) == ["atlas.pem", "orchestrator.yaml", "runner.pem"]


def test_nothing_is_overwritten(home: Path) -> None:
    assert ours("examples.configuration", str(home / "example")).returncode == 0
    again = ours("examples.configuration", str(home / "example"))
    assert again.returncode == 1
    assert "runner.pem exists already; name another directory" in again.stderr
