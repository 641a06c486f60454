"""runner.supervisor: each child's environment and arguments, and the pause before a restart."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.config.section_variable import BY_PROTOCOL
from runner.config.types import Config
from runner.supervisor import HOME, LONGEST_PAUSE, Child, Running, children
from tests.harness.clock import ManualClock


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
