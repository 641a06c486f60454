"""SIGHUP to `up`: valid, the configuration reaches every process; invalid, no process is touched."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from tests.faults.conftest import TRACKER, Up, leads, start_up
from tests.harness.processes import Processes, eventually, free_port

POOL, HTTP, GRPC = "runner serve --no-tracker", "functions.bundle:app", "functions.grpc"
NOT_REREAD = "the configuration was not reread"


def change(up: Up, **sections: Any) -> None:
    """Rewrite sections of the file; None removes one."""
    document = {**yaml.safe_load(up.config.read_text()), **sections}
    up.config.write_text(yaml.safe_dump({name: value for name, value in document.items() if value is not None}))


def test_a_protocol_that_is_added_is_started_and_one_that_is_dropped_is_stopped(tracked_up: Up) -> None:
    up, port = tracked_up, free_port()
    pool, http = up.child(POOL), up.child(HTTP)
    change(up, protocols=["http", "grpc"], grpc={"bind": f"127.0.0.1:{port}", "workers": 2})
    up.process.signal(signal.SIGHUP)
    eventually(lambda: _listens(port), "gRPC is served", 30)
    assert (up.child(POOL), up.child(HTTP)) == (pool, http)
    change(up, protocols=["grpc"])
    up.process.signal(signal.SIGHUP)
    eventually(lambda: not up.child(HTTP), "HTTP is not served any more", 40)
    assert _listens(port)
    assert up.child(POOL) == pool


def test_what_has_changed_is_restarted_and_what_has_not_stays(tracked_up: Up) -> None:
    up = tracked_up
    pool, http, tracker = up.child(POOL), up.child(HTTP), up.child(TRACKER)
    change(up, limits={"queueSeconds": 7})
    up.process.signal(signal.SIGHUP)
    eventually(lambda: up.child(TRACKER) not in (0, tracker), "the tracker is replaced")
    eventually(lambda: leads(up.process, up.child(TRACKER)), "the new one leads")
    assert (up.child(POOL), up.child(HTTP)) == (pool, http)
    change(up, http={"bind": f"127.0.0.1:{up.client.port}", "workers": 1, "threads": 8})
    up.process.signal(signal.SIGHUP)
    eventually(lambda: up.child(HTTP) not in (0, http), "HTTP is restarted", 40)
    eventually(up.client.ready, "it serves")
    assert up.child(POOL) == pool


def test_a_driver_that_is_added_or_dropped_brings_or_takes_the_tracker(tracked_up: Up) -> None:
    up = tracked_up
    change(up, driver="memory")
    up.process.signal(signal.SIGHUP)
    eventually(lambda: not up.child(TRACKER), "the tracker is stopped")
    eventually(lambda: up.client.post().status == 201, "jobs go to the new driver")
    change(up, driver="local")
    up.process.signal(signal.SIGHUP)
    eventually(lambda: leads(up.process, up.child(TRACKER)), "a tracker leads")


INVALID: dict[str, Callable[[Up], None]] = {
    "no YAML": lambda up: _append(up, "\n: ["),
    "an unknown key": lambda up: change(up, sidecars={}),
    "two wrong values": lambda up: change(up, limits={"queueSeconds": -1}, protocols=["htp"]),
    "another socket": lambda up: change(up, sidecar={"socket": f"{up.socket}.other", "workers": 1}),
    "a key that is none": lambda up: change(up, runner={"id": "runner-1", "privateKey": "-----BEGIN NOTHING-----"}),
    "a missing variable": lambda up: change(up, protocols=["http", "amqp"]),
    "a kubeconfig that is missing": lambda up: change(up, driver="kubernetes", kubernetes={"kubeconfig": "/nowhere"}),
    "a CA that is missing": lambda up: change(up, results={"caFile": "/nowhere"}),
    "a token file that is missing": lambda up: change(up, driver="nomad", nomad={"tokenFile": "/nowhere"}),
    "a certificate that is none": lambda up: change(
        up, protocols=["http", "grpc"], grpc={"tls": {"certificate": str(up.config), "key": str(up.config)}}
    ),
    "no file": lambda up: up.config.unlink(),
}


def test_what_was_missing_at_the_start_does_not_keep_a_change_from_being_reread(
    processes: Processes,
    tmp_path: Path,
    write_config: Callable[..., Path],
    token: Callable[..., str],
    sample: Callable[[str], dict[str, Any]],
) -> None:
    """A start does not look for the program of each image. Keys must be changed without a restart there too."""
    local = {"directory": str(tmp_path / "jobs"), "images": {"other": {"command": ["/nowhere/program"]}}}
    up = start_up(processes, tmp_path, write_config, token(), sample("analysis"), driver="local", local=local)
    children = up.process.children()
    change(up, limits={"queueSeconds": 7})
    up.process.signal(signal.SIGHUP)
    eventually(lambda: set(up.process.children()) != set(children), "the file is reread")
    assert NOT_REREAD not in up.process.said()


def test_an_invalid_file_is_reported_and_touches_no_process(tracked_up: Up) -> None:
    """One start for all faults: nothing changes, so the next fault finds what the first one found."""
    up, before = tracked_up, tracked_up.config.read_text()
    children = up.process.children()
    workers = up.process.family()
    for number, (fault, break_it) in enumerate(INVALID.items(), 1):
        break_it(up)
        up.process.signal(signal.SIGHUP)
        eventually(lambda number=number: up.process.said().count(NOT_REREAD) == number, f"{fault} is reported")
        assert up.process.children() == children, fault
        assert up.process.family() == workers, fault
        up.config.write_text(before)
    assert "/limits/queueSeconds" in up.process.said()
    assert "/protocols/0" in up.process.said()
    assert up.client.ready()
    change(up, limits={"queueSeconds": 7})
    up.process.signal(signal.SIGHUP)
    eventually(lambda: set(up.process.children()) != set(children), "a valid file is reread after that")


def test_a_file_that_becomes_invalid_does_not_end_what_is_restarted_later(tracked_up: Up) -> None:
    up, before, tracker = tracked_up, tracked_up.config.read_text(), tracked_up.child(TRACKER)
    up.config.write_text("drivr: local\n")
    os.kill(tracker, signal.SIGKILL)
    eventually(lambda: "tracker ended with 3" in up.process.said(), "it cannot start")
    assert up.client.ready()
    up.config.write_text(before)
    eventually(lambda: leads(up.process, up.child(TRACKER)), "it starts once the file is valid")


def _append(up: Up, text: str) -> None:
    up.config.write_text(up.config.read_text() + text)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
