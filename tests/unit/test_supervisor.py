"""runner.supervisor: what each child is given, and how long a child that keeps dying is waited for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.config.section_variable import BY_PROTOCOL
from runner.config.types import Config
from runner.supervisor import HOME, LONGEST_PAUSE, Child, Running, children
from tests.clock import ManualClock


def test_the_pause_grows_up_to_a_bound_however_often_a_child_dies() -> None:
    """Doubling has no end of its own: after a day of deaths no float would hold it."""
    clock = ManualClock()
    running = Running(Child("door", ("false",), {}), clock)
    running.started = clock.monotonic()
    pauses = []
    for _ in range(2000):
        running.record_exit(1)
        pauses.append(running.due - clock.monotonic())
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[1] < pauses[-1] == LONGEST_PAUSE


def test_every_protocol_gets_its_own_section_as_the_file_has_it(make_config: Callable[..., Config]) -> None:
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
def test_the_module_path_is_added_to(make_config: Callable[..., Config], inherited: str) -> None:
    for child in children(make_config(), Path("x.yaml"), {"PYTHONPATH": inherited}):
        assert child.environment["PYTHONPATH"].split(os.pathsep) == [str(HOME), *filter(None, inherited.split(":"))]
    for child in children(make_config(), Path("x.yaml"), {}):
        assert child.environment["PYTHONPATH"] == str(HOME)


def test_no_argument_list_has_a_setting(make_config: Callable[..., Config]) -> None:
    """Every user of a host can read the argument lists of its processes."""
    config = make_config(protocols=["http", "grpc", "amqp"])
    broker = {"ORCHESTRATOR_AMQP_URL": "amqp://u:secret@broker/"}
    for child in children(config, Path("x.yaml"), broker):
        assert child.command[0] == sys.executable
        assert not [word for word in child.command if "secret" in word or "{" in word]
