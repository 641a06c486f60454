"""The tracker is killed, stopped or replaced: another leads, and no layout is without one by omission."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.faults.conftest import TRACKER, Up, leads
from tests.harness.processes import Process, Processes, eventually

HANDOVER_SECONDS = 2.0
NOT_REREAD = "the configuration was not reread"


@pytest.fixture
def config(tmp_path: Path, write_config: Callable[..., Path]) -> Path:
    """With the local driver, whose jobs have a tracker."""
    return write_config(tmp_path, driver="local", local={"directory": str(tmp_path / "jobs")})


def test_a_killed_tracker_is_replaced_and_nothing_else_is(tracked_up: Up) -> None:
    up = tracked_up
    others, killed = set(up.process.children()) - {up.child(TRACKER)}, up.child(TRACKER)
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: up.child(TRACKER) not in (0, killed), "it is started again", up.recovery_seconds)
    eventually(lambda: leads(up.process, up.child(TRACKER)), "the new one leads", up.recovery_seconds)
    assert others < set(up.process.children())


def test_the_tracker_renews_its_health_file(tracked_up: Up) -> None:
    health = Path(f"{tracked_up.socket}.tracker.health")
    before = eventually(lambda: health.exists() and health.stat().st_mtime_ns, "it is there")
    eventually(lambda: health.stat().st_mtime_ns != before, "it is renewed", 5)


def test_serve_runs_the_tracker_as_well(processes: Processes, tmp_path: Path, config: Path) -> None:
    serve = processes.python("-m", "runner", "serve", "--config", str(config))
    eventually(lambda: leads(serve, serve.child(TRACKER)), "its tracker leads")
    eventually(lambda: _listens(tmp_path / "runner.sock"), "its pool listens")
    pool, tracker = serve.child("--no-tracker"), serve.child(TRACKER)
    assert set(serve.children()) == {pool, tracker}
    for killed in (pool, tracker):
        os.kill(killed, signal.SIGKILL)
    eventually(lambda: serve.child("--no-tracker") not in (0, pool), "the pool is restarted")
    eventually(lambda: serve.child(TRACKER) not in (0, tracker), "the tracker is restarted")
    eventually(lambda: leads(serve, serve.child(TRACKER)), "the new tracker leads")
    eventually(lambda: _listens(tmp_path / "runner.sock"), "the new pool listens, in place of the killed one's file")
    serve.signal(signal.SIGTERM)
    assert serve.ended() == 0
    assert not serve.family()
    assert not (tmp_path / "runner.sock").exists()


def test_serve_without_a_tracker_runs_the_pool_alone(processes: Processes, tmp_path: Path, config: Path) -> None:
    serve = processes.python("-m", "runner", "serve", "--no-tracker", "--config", str(config))
    eventually(lambda: (tmp_path / "runner.sock").exists() and serve.children(), "its pool listens")
    assert not serve.child(TRACKER)
    assert "leads" not in serve.said()


def test_a_tracker_that_ends_cleanly_is_followed_within_two_seconds(processes: Processes, config: Path) -> None:
    first, second = _two(processes, config)
    first.signal(signal.SIGTERM)
    began = time.monotonic()
    assert first.ended(HANDOVER_SECONDS) == 0
    eventually(lambda: leads(second, second.pid), "the second leads", HANDOVER_SECONDS)
    assert time.monotonic() - began < HANDOVER_SECONDS


def test_a_waiting_tracker_says_which_one_leads_and_ends_at_once(processes: Processes, config: Path) -> None:
    first, second = _two(processes, config)
    (line,) = (line for line in second.said().splitlines() if "this process waits" in line)
    assert f"-{first.pid}-" in line
    second.signal(signal.SIGTERM)
    assert second.ended(HANDOVER_SECONDS) == 0
    assert first.runs()


def test_on_sighup_a_tracker_alone_starts_again_with_the_new_configuration(processes: Processes, config: Path) -> None:
    tracker = processes.python("-m", "runner", "track", "--config", str(config))
    eventually(lambda: leads(tracker, tracker.pid), "it leads")
    config.write_text(config.read_text() + "tracker: {intervalSeconds: 1}\n")
    tracker.signal(signal.SIGHUP)
    eventually(lambda: tracker.said().count("this process leads") == 2, "it leads again")
    assert tracker.runs()
    tracker.signal(signal.SIGHUP)
    eventually(lambda: tracker.said().count("this process leads") == 3, "it does so every time")
    tracker.signal(signal.SIGTERM)
    assert tracker.ended(HANDOVER_SECONDS) == 0


@pytest.mark.parametrize("fault", ["drivr: local\n", "runner: {id: runner-1, privateKey: '-----BEGIN NOTHING-----'}\n"])
def test_on_sighup_with_an_invalid_file_a_tracker_alone_runs_on(processes: Processes, config: Path, fault: str) -> None:
    tracker = processes.python("-m", "runner", "track", "--config", str(config))
    eventually(lambda: leads(tracker, tracker.pid), "it leads")
    kept = config.read_text()
    config.write_text(kept.replace("driver: local\n", fault) if "drivr" in fault else _replaced(kept, fault))
    tracker.signal(signal.SIGHUP)
    eventually(lambda: NOT_REREAD in tracker.said(), "it is reported")
    config.write_text(kept)
    tracker.signal(signal.SIGHUP)
    eventually(lambda: tracker.said().count("this process leads") == 2, "a valid file is reread after that")


def _replaced(text: str, runner: str) -> str:
    return str(yaml.safe_dump({**yaml.safe_load(text), **yaml.safe_load(runner)}))


def _two(processes: Processes, config: Path) -> tuple[Process, Process]:
    first = processes.python("-m", "runner", "track", "--config", str(config))
    eventually(lambda: leads(first, first.pid), "the first leads")
    second = processes.python("-m", "runner", "track", "--config", str(config))
    eventually(lambda: "this process waits" in second.said(), "the second waits")
    return first, second


def _listens(path: Path) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))
        return True
    return False
