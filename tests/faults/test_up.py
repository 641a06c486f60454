"""`python -m runner up`: restart of killed processes, SIGHUP, and its end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.runtime import exit_codes
from tests.faults.conftest import Up
from tests.faults.load import requests
from tests.harness.processes import Processes, children_of, eventually, free_port

SIDECAR, HTTP = "runner serve", "functions.bundle:app"


def test_a_killed_sidecar_is_restarted_within_five_seconds_and_the_functions_stay(
    lasting_up: Up, token: Callable[..., str], sample: Any
) -> None:
    up = lasting_up
    functions = [up.child(HTTP), *children_of(up.child(HTTP))]
    load = requests(up.client.port, token(), sample("analysis"), 4)
    killed = up.child(SIDECAR)
    workers = children_of(killed)
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: up.recovered(SIDECAR, killed, workers), "the sidecar is restarted", up.recovery_seconds)
    assert up.client.post().status == 201
    assert [up.child(HTTP), *children_of(up.child(HTTP))] == functions
    assert set(load.stop()) <= {"201", "503"}
    assert up.process.runs()


def test_killed_functions_are_restarted_within_five_seconds(lasting_up: Up) -> None:
    killed, sidecar = lasting_up.child(HTTP), lasting_up.child(SIDECAR)
    os.kill(killed, signal.SIGKILL)
    eventually(
        lambda: lasting_up.recovered(HTTP, killed, ()), "the functions are restarted", lasting_up.recovery_seconds
    )
    assert lasting_up.child(SIDECAR) == sidecar


def test_on_sighup_the_functions_use_the_changed_configuration_within_seconds(
    lasting_up: Up, token: Callable[..., str]
) -> None:
    up, functions = lasting_up, lasting_up.child(HTTP)
    before = up.config.read_text()
    assert up.client.post(token=token(runner_id="runner-2")).status == 403
    up.config.write_text(before.replace("id: runner-1", "id: runner-2"))
    up.process.signal(signal.SIGHUP)
    eventually(lambda: up.client.post(token=token(runner_id="runner-2")).status == 201, "the new id is in effect")
    assert up.child(HTTP) == functions
    up.config.write_text(before)


def test_an_invalid_configuration_on_sighup_changes_nothing(lasting_up: Up) -> None:
    up, sidecar = lasting_up, lasting_up.child(SIDECAR)
    before = up.config.read_text()
    up.config.write_text("driver: nonsense\n")
    up.process.signal(signal.SIGHUP)
    eventually(lambda: "the configuration was not reread" in up.process.said(), "it is reported")
    eventually(up.client.ready, "it serves")
    assert (up.child(SIDECAR), up.process.runs()) == (sidecar, True)
    up.config.write_text(before)


def test_a_second_up_on_the_same_socket_exits_and_the_first_continues(
    lasting_up: Up, processes: Processes, tmp_path: Path
) -> None:
    config = tmp_path / "orchestrator.yaml"
    config.write_text(lasting_up.config.read_text().replace(str(lasting_up.client.port), str(free_port())))
    second = processes.python("-m", "runner", "up", "--config", str(config))
    assert second.ended(30) == exit_codes.CONFIGURATION
    assert not second.family()
    assert lasting_up.client.ready()


def test_a_killed_up_leaves_no_process_behind(up: Up) -> None:
    assert len(up.process.family()) >= 6
    os.kill(up.process.pid, signal.SIGKILL)
    eventually(lambda: not up.process.family(), "all processes have ended")
    assert not up.socket.exists()


def test_on_sigint_all_processes_end_and_the_exit_code_is_0(up: Up) -> None:
    up.process.signal(signal.SIGINT)
    assert up.process.ended(30) == 0
    assert not up.process.family()
    assert not up.socket.exists()
    assert "Traceback" not in up.process.said()


def test_on_sigterm_under_load_no_accepted_request_fails(up: Up, token: Callable[..., str], sample: Any) -> None:
    load = requests(up.client.port, token(), sample("analysis"), 8)
    eventually(lambda: load.outcomes["201"] > 200, "there is load", 30)
    up.process.signal(signal.SIGTERM)
    assert up.process.ended(30) == 0
    assert set(load.stop()) <= {"201", "refused", "not accepted"}


def test_an_invalid_configuration_ends_it_with_exit_code_3(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "orchestrator.yaml").write_text("drivr: memory\n")
    up = processes.python("-m", "runner", "up", "--config", str(tmp_path / "orchestrator.yaml"))
    assert up.ended() == exit_codes.CONFIGURATION
    assert "driver" in up.said()
