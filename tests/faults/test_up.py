"""`python -m runner up`: all of it at once, whatever dies, and its end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.runtime import exit_codes
from tests.faults.conftest import Everything
from tests.faults.load import requests
from tests.processes import Processes, children_of, eventually, free_port

SIDECAR, HTTP = "runner serve", "functions.bundle:app"


def test_a_killed_sidecar_is_back_within_five_seconds_and_the_functions_stay(
    lasting_up: Everything, token: Callable[..., str], sample: Any
) -> None:
    up = lasting_up
    functions = [up.child(HTTP), *children_of(up.child(HTTP))]
    load = requests(up.door.port, token(), sample("analysis"), 4)
    doomed = up.child(SIDECAR)
    workers = children_of(doomed)
    os.kill(doomed, signal.SIGKILL)
    eventually(lambda: up.back_from(SIDECAR, doomed, workers), "it is back", up.back_within)
    assert up.door.post().status == 201
    assert [up.child(HTTP), *children_of(up.child(HTTP))] == functions
    assert set(load.stop()) <= {"201", "503"}
    assert up.process.runs()


def test_killed_functions_are_served_again_within_five_seconds(lasting_up: Everything) -> None:
    doomed, sidecar = lasting_up.child(HTTP), lasting_up.child(SIDECAR)
    os.kill(doomed, signal.SIGKILL)
    eventually(lambda: lasting_up.back_from(HTTP, doomed, ()), "they are back", lasting_up.back_within)
    assert lasting_up.child(SIDECAR) == sidecar


def test_sighup_brings_a_changed_configuration_to_the_functions_within_seconds(
    lasting_up: Everything, token: Callable[..., str]
) -> None:
    up, functions = lasting_up, lasting_up.child(HTTP)
    before = up.config.read_text()
    assert up.door.post(token=token(runner_id="runner-2")).status == 403
    up.config.write_text(before.replace("id: runner-1", "id: runner-2"))
    up.process.signal(signal.SIGHUP)
    eventually(lambda: up.door.post(token=token(runner_id="runner-2")).status == 201, "the new id is taken")
    assert up.child(HTTP) == functions
    up.config.write_text(before)


def test_a_bad_configuration_on_sighup_changes_nothing(lasting_up: Everything) -> None:
    up, sidecar = lasting_up, lasting_up.child(SIDECAR)
    before = up.config.read_text()
    up.config.write_text("driver: nonsense\n")
    up.process.signal(signal.SIGHUP)
    eventually(lambda: "the configuration was not reread" in up.process.said(), "it is reported")
    eventually(up.door.ready, "it serves")
    assert (up.child(SIDECAR), up.process.runs()) == (sidecar, True)
    up.config.write_text(before)


def test_a_second_up_on_the_same_socket_ends_itself_and_harms_nobody(
    lasting_up: Everything, processes: Processes, tmp_path: Path
) -> None:
    config = tmp_path / "orchestrator.yaml"
    config.write_text(lasting_up.config.read_text().replace(str(lasting_up.door.port), str(free_port())))
    second = processes.python("-m", "runner", "up", "--config", str(config))
    assert second.ended(30) == exit_codes.CONFIGURATION
    assert not second.family()
    assert lasting_up.door.ready()


def test_killed_itself_it_leaves_no_process_behind(up: Everything) -> None:
    assert len(up.process.family()) >= 6
    os.kill(up.process.pid, signal.SIGKILL)
    eventually(lambda: not up.process.family(), "all have gone")
    assert not up.socket.exists()


def test_told_to_stop_it_ends_everything_and_says_that_all_is_well(up: Everything) -> None:
    up.process.signal(signal.SIGINT)
    assert up.process.ended(30) == 0
    assert not up.process.family()
    assert not up.socket.exists()
    assert "Traceback" not in up.process.said()


def test_told_to_stop_under_load_it_fails_no_request_that_it_has_taken(
    up: Everything, token: Callable[..., str], sample: Any
) -> None:
    load = requests(up.door.port, token(), sample("analysis"), 8)
    eventually(lambda: load.outcomes["201"] > 200, "there is load", 30)
    up.process.signal(signal.SIGTERM)
    assert up.process.ended(30) == 0
    assert set(load.stop()) <= {"201", "refused", "not accepted"}


def test_a_wrong_configuration_ends_it_with_exit_code_3(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "orchestrator.yaml").write_text("drivr: memory\n")
    up = processes.python("-m", "runner", "up", "--config", str(tmp_path / "orchestrator.yaml"))
    assert up.ended() == exit_codes.CONFIGURATION
    assert "driver" in up.said()
