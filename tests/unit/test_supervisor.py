"""runner.supervisor: each child's environment and arguments, restarts, silence, and reloads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from runner.config.section_variable import BY_PROTOCOL
from runner.config.types import Config
from runner.errors import Invalid, Problem
from runner.runtime import exit_codes
from runner.runtime.clock import SystemClock
from runner.supervisor.layout import (
    HOME,
    SILENT_SECONDS,
    Child,
    children,
    pool_children,
    sidecar_children,
    tracker_children,
)
from runner.supervisor.running import LONGEST_PAUSE, Running
from runner.supervisor.supervisor import Supervisor
from runner.tracker.health import HEALTH_VARIABLE, INTERVAL_SECONDS, Heartbeat
from tests.harness.clock import ManualClock
from tests.harness.processes import eventually


def test_the_pause_before_a_restart_grows_up_to_a_bound() -> None:
    """Without a bound, doubling would overflow a float after a day of exits."""
    clock = ManualClock()
    running = Running(Child("http", ("false",), {}), clock)
    running.started = clock.monotonic()
    pauses = []
    for _ in range(2000):
        running.record_exit(1)
        pauses.append(running.due - clock.monotonic())
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[1] < pauses[-1] == LONGEST_PAUSE


def test_every_protocol_gets_its_section_of_the_configuration(make_config: Callable[..., Config]) -> None:
    sections = {
        "http": {"bind": "[::]:1", "workers": 3, "threads": 4},
        "grpc": {"bind": "[::]:2", "workers": 1, "concurrency": 5},
        "rabbitmq": {"exchange": "e", "queues": {"analysis_run": {"queue": "q"}}, "delays": [7, 8], "declare": False},
    }
    config = make_config(protocols=["http", "grpc", "amqp"], sidecar={"socket": "/s", "workers": 1}, **sections)
    started = {child.name.split()[0]: child.environment for child in children(config, Path("x.yaml"), {})}
    for protocol, section in BY_PROTOCOL.items():
        assert section.read(started[protocol]) == getattr(config, section.section) != section.kind()
        assert started[protocol]["ORCHESTRATOR_SOCKET"] == "/s"


@pytest.mark.parametrize("inherited", ["", "/a", f"/a{os.pathsep}/b"])
def test_this_tree_is_put_before_an_inherited_module_path(make_config: Callable[..., Config], inherited: str) -> None:
    for child in children(make_config(), Path("x.yaml"), {"PYTHONPATH": inherited}):
        assert child.environment["PYTHONPATH"].split(os.pathsep) == [str(HOME), *filter(None, inherited.split(":"))]
    for child in children(make_config(), Path("x.yaml"), {}):
        assert child.environment["PYTHONPATH"] == str(HOME)


def test_no_setting_is_in_an_argument_list(make_config: Callable[..., Config]) -> None:
    """Every user of a host can read the argument lists of its processes."""
    config = make_config(protocols=["http", "grpc", "amqp"])
    broker = {"ORCHESTRATOR_AMQP_URL": "amqp://u:secret@broker/"}
    for child in children(config, Path("x.yaml"), broker):
        assert child.command[0] == sys.executable
        assert not [word for word in child.command if "secret" in word or "{" in word]


def test_jobs_that_others_can_list_have_a_tracker(make_config: Callable[..., Config]) -> None:
    def names(**sections: Any) -> list[str]:
        return [child.name for child in sidecar_children(make_config(**sections), Path("x.yaml"), {})]

    assert names(driver="local") == names(driver="nomad") == ["sidecar", "tracker"]
    assert names(driver="memory", pools={"other": {"driver": "local"}}) == ["sidecar", "tracker"]
    assert names(driver="memory") == names(driver="printer") == ["sidecar"]


def test_up_starts_the_tracker_as_a_process_of_its_own_once(make_config: Callable[..., Config]) -> None:
    started = children(make_config(driver="local"), Path("x.yaml"), {})
    assert [child.name for child in started] == ["sidecar", "tracker", "http"]
    assert started[0].command[-1] == "--no-tracker"


def test_the_supervisor_names_the_health_file_for_the_tracker_alone(make_config: Callable[..., Config]) -> None:
    sidecar, tracker, http = children(make_config(driver="local", sidecar={"socket": "/s"}), Path("x.yaml"), {})
    assert (tracker.environment[HEALTH_VARIABLE], tracker.health) == ("/s.tracker.health", Path("/s.tracker.health"))
    assert tracker.silence == SILENT_SECONDS == 30
    assert HEALTH_VARIABLE not in sidecar.environment | http.environment


def test_metrics_are_served_by_a_process_without_keys_and_recorded_beside_the_socket(
    make_config: Callable[..., Config],
) -> None:
    config = make_config(
        driver="local", protocols=["http", "amqp"], sidecar={"socket": "/s"}, metrics={"bind": "127.0.0.1:9090"}
    )
    started = children(config, Path("x.yaml"), {"ORCHESTRATOR_PRIVATE_KEY": "key", "ORCHESTRATOR_AMQP_URL": "amqp://"})
    assert [child.name for child in started] == ["sidecar", "tracker", "metrics", "http", "amqp"]
    assert {child.environment["PROMETHEUS_MULTIPROC_DIR"] for child in started} == {"/s.metrics"}
    metrics = started[2]
    assert not {"ORCHESTRATOR_PRIVATE_KEY", "ORCHESTRATOR_AMQP_URL"} & set(metrics.environment)
    assert list(metrics.command[3:]) == [
        "metrics", "--bind=127.0.0.1:9090", "--part=sidecar", "--part=tracker", "--part=amqp", "--driver=local",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "names", "options"),
    [
        (sidecar_children, ["sidecar", "tracker", "metrics"], ["--part=sidecar", "--part=tracker", "--driver=local"]),
        (pool_children, ["sidecar", "metrics"], ["--part=sidecar", "--driver=local"]),
        (tracker_children, ["tracker", "metrics"], ["--part=tracker", "--driver=local"]),
    ],
)
def test_every_layout_reports_the_readiness_of_its_own_parts(
    make_config: Callable[..., Config], layout: Callable[..., Sequence[Child]], names: list[str], options: list[str]
) -> None:
    started = layout(make_config(driver="local", metrics={"bind": "h:1"}), Path("x.yaml"), {})
    assert [child.name for child in started] == names
    assert list(started[-1].command[5:]) == options


BEATING = "import pathlib, sys, time\nwhile True: pathlib.Path(sys.argv[1]).touch(); time.sleep(0.05)"
ASLEEP = "import time; time.sleep(600)"


def program(name: str, text: str, *arguments: str, **fields: Any) -> Child:
    return Child(name, (sys.executable, "-c", text, *arguments), dict(os.environ), **fields)


class Supervised:
    """A supervisor of real processes, whose checks the test makes."""

    def __init__(self, *wanted: Child) -> None:
        self.wanted: Sequence[Child] | Exception = wanted
        self.supervisor = Supervisor(wanted, self._reread, SystemClock())
        self.supervisor.check()

    def _reread(self) -> Sequence[Child]:
        if isinstance(self.wanted, Exception):
            raise self.wanted
        return self.wanted

    def pids(self) -> dict[str, int]:
        return {each.child.name: each.process.pid for each in self.supervisor._running if each.process}

    def reload(self, *wanted: Child) -> None:
        self.wanted = wanted
        self.supervisor.reload()

    def until(self, condition: Callable[[], object], what: str, seconds: float = 15.0) -> None:
        def checked() -> object:
            assert self.supervisor.check() is None
            return condition()

        eventually(checked, what, seconds)


@pytest.fixture
def supervised() -> Iterator[Callable[..., Supervised]]:
    """Starts a supervisor of these children, and stops them after the test."""
    made: list[Supervised] = []

    def make(*wanted: Child) -> Supervised:
        made.append(Supervised(*wanted))
        return made[-1]

    yield make
    for each in made:
        for running in each.supervisor._running:
            if running.process:
                running.process.kill()
                running.process.wait()


def test_a_child_that_is_stopped_or_silent_is_replaced(supervised: Callable[..., Supervised], tmp_path: Path) -> None:
    health = tmp_path / "health"
    made = supervised(
        program("beating", BEATING, str(health), health=health, silence=1.5),
        program("silent", ASLEEP, health=tmp_path / "none", silence=1.5),
        program("without", ASLEEP, silence=0.0),
    )
    first = made.pids()
    made.until(lambda: made.pids().get("silent", 0) not in (0, first["silent"]), "the silent one is replaced")
    assert {name: pid for name, pid in made.pids().items() if name != "silent"} == {
        name: pid for name, pid in first.items() if name != "silent"
    }
    os.kill(first["beating"], signal.SIGSTOP)
    made.until(lambda: made.pids().get("beating", 0) not in (0, first["beating"]), "the stopped one is replaced")
    assert made.pids()["without"] == first["without"]


def test_silence_counts_only_while_the_supervisor_runs(tmp_path: Path) -> None:
    """After a pause of the whole host, the children are given their time again."""
    clock = ManualClock()
    running = Running(program("x", ASLEEP, health=tmp_path / "none", silence=30.0), clock)
    running.start()
    assert running.process is not None
    try:
        clock.advance(3600)
        running.check()
        with pytest.raises(subprocess.TimeoutExpired):
            running.process.wait(0.3)
        for _ in range(40):
            clock.advance(1)
            running.check()
        assert running.process.wait(5) == -signal.SIGKILL
    finally:
        running.process.kill()
        running.process.wait()


def test_a_step_of_the_wall_clock_silences_nobody(tmp_path: Path) -> None:
    clock, health = ManualClock(), tmp_path / "health"
    running = Running(program("x", ASLEEP, health=health, silence=30.0), clock)
    running.start()
    assert running.process is not None
    try:
        for second in range(100):
            clock.advance(1)
            health.touch()
            os.utime(health, (1e9 - second * 1e6, 1e9 - second * 1e6))
            running.check()
        with pytest.raises(subprocess.TimeoutExpired):
            running.process.wait(0.3)
    finally:
        running.process.kill()
        running.process.wait()


def test_a_reload_keeps_signals_replaces_adds_and_removes(
    supervised: Callable[..., Supervised], tmp_path: Path
) -> None:
    counts = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGHUP, lambda *_: pathlib.Path(sys.argv[1], 'hup').touch())\n"
        "pathlib.Path(sys.argv[1], 'started').touch()\n"
        "while True: time.sleep(0.1)"
    )
    pool = program("pool", counts, str(tmp_path), on_reload="signal")
    tracker, kept = program("tracker", ASLEEP, on_reload="replace"), program("kept", ASLEEP)
    changed, dropped = program("changed", ASLEEP), program("dropped", ASLEEP)
    made = supervised(pool, tracker, kept, changed, dropped)
    made.until((tmp_path / "started").exists, "the pool has its handler")
    before = made.pids()
    added = program("added", ASLEEP)
    made.reload(pool, tracker, kept, structs.replace(changed, environment={**os.environ, "X": "1"}), added)
    names = {"pool", "tracker", "kept", "changed", "added"}

    def same() -> set[str]:
        return {name for name, pid in made.pids().items() if pid == before.get(name)}

    made.until(lambda: (set(made.pids()), same()) == (names, {"pool", "kept"}), "two are replaced, one is new")
    made.until((tmp_path / "hup").exists, "the pool got SIGHUP")
    after = made.pids()
    environment = Path(f"/proc/{after['changed']}/environ").read_bytes().split(b"\0")
    assert b"X=1" in environment


def test_a_child_that_is_dropped_and_added_again_runs(supervised: Callable[..., Supervised]) -> None:
    one, other = program("one", ASLEEP), program("other", ASLEEP)
    made = supervised(one, other)
    before = made.pids()["one"]
    made.reload(other)
    made.reload(one, other)
    made.until(lambda: made.pids().get("one", 0) not in (0, before), "it runs again")


def test_an_invalid_configuration_is_logged_whole_and_changes_nothing(
    supervised: Callable[..., Supervised], caplog: pytest.LogCaptureFixture
) -> None:
    made = supervised(program("tracker", ASLEEP, on_reload="replace"))
    before = made.pids()
    made.wanted = Invalid([Problem(f"/a/{number}", "is wrong") for number in range(5)])
    made.supervisor.reload()
    made.supervisor.check()
    assert made.pids() == before
    assert all(f"/a/{number} is wrong" in caplog.text for number in range(5))


def test_a_child_that_refuses_the_configuration_ends_only_a_start(supervised: Callable[..., Supervised]) -> None:
    refuses = program("refuses", f"import sys; sys.exit({exit_codes.CONFIGURATION})")
    made = supervised(refuses)
    eventually(lambda: made.supervisor.check() == exit_codes.CONFIGURATION, "it ends the supervisor")
    made = supervised(program("runs", ASLEEP))
    made.reload(program("runs", ASLEEP), refuses)
    made.until(lambda: made.supervisor._running[1].exits >= 2, "it is tried again")
    assert "runs" in made.pids()


def test_a_heartbeat_renews_its_file_at_most_once_a_second(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, path = ManualClock(), tmp_path / "health"
    heartbeat = Heartbeat(str(path), clock)
    heartbeat.beat({})
    assert path.exists()
    path.unlink()
    heartbeat.beat({})
    assert not path.exists()
    clock.advance(INTERVAL_SECONDS)
    heartbeat.beat({})
    assert path.exists()
    lost = Heartbeat(str(tmp_path / "none" / "health"), clock)
    for _ in range(3):
        clock.advance(INTERVAL_SECONDS)
        lost.beat({})
    assert caplog.text.count("cannot be written") == 1
    Heartbeat("", clock).beat({})
