"""`python -m runner up`: all of it at once, whatever dies, and its end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner import exit_codes
from tests.faults.conftest import Door, Everything, Pool
from tests.faults.load import requests
from tests.processes import (
    Process,
    Processes,
    children_of,
    eventually,
    free_port,
    limit_open_files,
    lowest_free_descriptor,
)
from tests.wire import Connection, head

BACK_WITHIN = 5.0
SIDECAR, HTTP = "runner serve", "functions.bundle:app"


@pytest.mark.parametrize("loaded", [False, True], ids=["idle", "under load"])
def test_a_killed_sidecar_is_back_within_five_seconds_and_the_functions_stay(
    everything: Callable[..., Everything], token: Callable[..., str], sample: Any, loaded: bool
) -> None:
    up = everything()
    functions = [up.child(HTTP), *children_of(up.child(HTTP))]
    load = requests(up.door.port, token(), sample("analysis"), 4 if loaded else 0)
    doomed = up.child(SIDECAR)
    os.kill(doomed, signal.SIGKILL)
    killed = time.monotonic()
    eventually(lambda: up.child(SIDECAR) not in (0, doomed) and up.door.ready(), "it is back", BACK_WITHIN)
    assert time.monotonic() - killed < BACK_WITHIN
    assert up.door.post().status == 201
    assert [up.child(HTTP), *children_of(up.child(HTTP))] == functions
    assert set(load.stop()) <= {"201", "503"}
    assert up.process.runs()


def test_killed_again_and_again_it_still_comes_back(everything: Callable[..., Everything]) -> None:
    up = everything()
    for _ in range(2):
        doomed = up.child(SIDECAR)
        os.kill(doomed, signal.SIGKILL)
        eventually(lambda: up.child(SIDECAR) not in (0, doomed) and up.door.ready(), "it is back", 3 + BACK_WITHIN)
    assert up.process.runs()


def test_killed_functions_are_served_again_within_five_seconds(everything: Callable[..., Everything]) -> None:
    up = everything()
    doomed, sidecar = up.child(HTTP), up.child(SIDECAR)
    os.kill(doomed, signal.SIGKILL)
    eventually(lambda: up.child(HTTP) not in (0, doomed) and up.door.ready(), "they are back", BACK_WITHIN)
    assert up.child(SIDECAR) == sidecar


def test_killed_itself_it_leaves_no_process_behind(everything: Callable[..., Everything]) -> None:
    up = everything()
    assert len(up.process.family()) >= 6
    os.kill(up.process.pid, signal.SIGKILL)
    eventually(lambda: not up.process.family(), "all have gone")
    assert not up.socket.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_ends_everything_and_says_that_all_is_well(
    everything: Callable[..., Everything], number: int
) -> None:
    up = everything()
    up.process.signal(number)
    assert up.process.ended() == 0
    assert not up.process.family()
    assert not up.socket.exists()
    assert "Traceback" not in up.process.said()


def test_told_to_stop_under_load_it_fails_no_request_that_it_has_taken(
    everything: Callable[..., Everything], token: Callable[..., str], sample: Any
) -> None:
    up = everything()
    load = requests(up.door.port, token(), sample("analysis"), 8)
    eventually(lambda: load.outcomes["201"] > 200, "there is load")
    up.process.signal(signal.SIGTERM)
    assert up.process.ended() == 0
    assert set(load.stop()) <= {"201", "refused", "not accepted"}


def test_sighup_brings_a_changed_configuration_to_the_functions_within_seconds(
    everything: Callable[..., Everything], token: Callable[..., str]
) -> None:
    up = everything()
    functions = up.child(HTTP)
    up.config.write_text(up.config.read_text().replace("id: runner-1", "id: runner-2"))
    assert up.door.post(token=token(runner_id="runner-2")).status == 403
    up.process.signal(signal.SIGHUP)
    eventually(lambda: up.door.post(token=token(runner_id="runner-2")).status == 201, "the new id is taken")
    assert up.child(HTTP) == functions


def test_a_bad_configuration_on_sighup_changes_nothing(everything: Callable[..., Everything]) -> None:
    up = everything()
    sidecar = up.child(SIDECAR)
    up.config.write_text("driver: nonsense\n")
    up.process.signal(signal.SIGHUP)
    eventually(lambda: "the configuration was not reread" in up.process.said(), "it is reported")
    eventually(up.door.ready, "it serves")
    assert (up.child(SIDECAR), up.process.runs()) == (sidecar, True)


def test_a_wrong_configuration_ends_it_with_exit_code_3(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "orchestrator.yaml").write_text("drivr: memory\n")
    up = processes.python("-m", "runner", "up", "--config", str(tmp_path / "orchestrator.yaml"))
    assert up.ended() == exit_codes.CONFIGURATION
    assert "driver" in up.said()


def test_a_second_up_on_the_same_socket_ends_itself_and_harms_nobody(
    everything: Callable[..., Everything], processes: Processes
) -> None:
    up = everything()
    (up.config.parent / "second").mkdir()
    config = up.config.parent / "second" / "orchestrator.yaml"
    config.write_text(up.config.read_text().replace(str(up.door.port), str(free_port())))
    second = processes.python("-m", "runner", "up", "--config", str(config))
    assert second.ended(30) == exit_codes.CONFIGURATION
    assert not second.family()
    assert up.door.post().status == 201


# A function's worker, without all the rest.


def test_a_request_whose_function_died_succeeds_when_it_is_repeated_and_made_one_job(
    pool: Callable[..., Pool], door: Callable[..., tuple[Door, Process]]
) -> None:
    made = pool(workers=1)
    opened, gunicorn = door(made.socket, workers=1)
    (worker,) = gunicorn.children()
    lost = made.threads.submit(opened.post, "wait-500-x")
    made.begun("wait-500-x")
    os.kill(worker, signal.SIGKILL)
    assert lost.result().status == 0
    repeated = eventually(lambda: _served(opened, "wait-500-x"), "the repeat is served")
    assert [job["state"] for job in repeated.body["jobs"]] == ["exists"]
    assert gunicorn.children() != [worker]


def test_functions_without_file_descriptors_recover(
    pool: Callable[..., Pool], door: Callable[..., tuple[Door, Process]]
) -> None:
    opened, gunicorn = door(pool(workers=1).socket, workers=1)
    (worker,) = gunicorn.children()
    before = limit_open_files(worker, lowest_free_descriptor(worker))
    opened.get("/livez")  # is lost, or waits for the worker's successor
    if worker in gunicorn.children():
        limit_open_files(worker, before)
    assert eventually(opened.ready, "they recovered")


def test_a_function_that_cannot_reach_the_sidecar_for_want_of_descriptors_is_unavailable(
    pool: Callable[..., Pool], door: Callable[..., tuple[Door, Process]]
) -> None:
    opened, gunicorn = door(pool(workers=1).socket, workers=1)
    (worker,) = gunicorn.children()
    with Connection(opened.port) as connection:
        assert connection.ask(head("GET", "/readyz")).status == 200
        before = limit_open_files(worker, lowest_free_descriptor(worker))
        starved = connection.ask(head("GET", "/readyz"))
        limit_open_files(worker, before)
        assert (starved.status, starved.problem["code"]) == (503, "unavailable")
        assert connection.ask(head("GET", "/readyz")).status == 200


def _served(opened: Door, run_id: str) -> Any:
    answer = opened.post(run_id)
    return answer if answer.status in (200, 201) else None
