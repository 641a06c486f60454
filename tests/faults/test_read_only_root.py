"""A read-only root file system, as containers often have: it runs with a writable /tmp, and else says what it needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.runtime import exit_codes
from tests.harness.processes import Process, Processes, eventually

SCRIPT = """
mount -t tmpfs none /mnt && cp "$CONFIG" /mnt/orchestrator.yaml
for place in $(cut -d" " -f2 /proc/mounts | sort -u); do
  case $place in /proc*|/sys*|/dev|/mnt) ;; *) mount -o remount,ro,bind $place 2>/dev/null ;; esac
done
[ -z "$WRITABLE" ] || mount -t tmpfs none "$WRITABLE"
exec "$@"
"""


@pytest.fixture
def start(processes: Processes, write_config: Callable[..., Path], tmp_path: Path) -> Callable[..., Process]:
    """`python -m runner COMMAND` in a mount namespace, where /mnt is writable, and at most one other place."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")

    def run(command: str, writable: str = "", **sections: Any) -> Process:
        config = write_config(tmp_path, **{"driver": "printer", "http": {"bind": "127.0.0.1:0"}, **sections})
        config.write_text(config.read_text().replace(str(tmp_path), "/mnt"))
        environment = {"CONFIG": str(config), "WRITABLE": writable, "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": ""}
        orchestrator = (sys.executable, "-m", "runner", command, "--config", "/mnt/orchestrator.yaml")
        script = ("unshare", "--mount", "/bin/sh", "-c", SCRIPT, "sh")
        return processes.command(*script, *orchestrator, name=command, **environment)

    return run


def test_with_a_writable_place_for_temporary_files_everything_runs(start: Callable[..., Process]) -> None:
    up = start("up", "/var/tmp", http={"bind": "127.0.0.1:0", "workers": 1})
    eventually(lambda: up.said().count("Booting worker") == 2, "sidecar and functions have workers", 30)
    assert "ended with" not in up.said()
    assert up.runs()


@pytest.mark.parametrize("command", ["up", "serve", "check-config"])
def test_without_one_it_ends_and_says_what_it_needs(start: Callable[..., Process], command: str) -> None:
    process = start(command)
    assert process.ended(30) == exit_codes.CONFIGURATION
    assert "mount an empty directory at /tmp" in process.said()
    assert "Traceback" not in process.said()


def test_directories_that_cannot_be_written_to_are_named(start: Callable[..., Process]) -> None:
    sidecar, local = {"socket": "/srv/runner.sock"}, {"directory": "/srv/new/jobs"}
    process = start("check-config", "/var/tmp", driver="local", sidecar=sidecar, local=local)
    assert process.ended(30) == exit_codes.CONFIGURATION
    assert "sidecar.socket: /srv cannot be written to" in process.said()
    assert "$XDG_RUNTIME_DIR" in process.said()
    assert "local.directory: /srv/new/jobs cannot be made in /srv" in process.said()


def test_a_socket_that_cannot_be_made_ends_the_sidecar_with_a_sentence(start: Callable[..., Process]) -> None:
    process = start("serve", "/var/tmp", sidecar={"socket": "/srv/runner.sock"})
    assert process.ended(30) == exit_codes.CONFIGURATION
    assert "the socket /srv/runner.sock cannot be used" in process.said()
    assert "$XDG_RUNTIME_DIR" in process.said()
    assert "Traceback" not in process.said()
