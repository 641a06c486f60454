"""Checks of atlas and of the broker.

atlas gets a connection, without a token and without a result. The broker is asked by a process of its own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from runner.cli.connect.checks import ConnectCheck, Finding
from runner.composition import Outside
from runner.config.types import Config
from runner.runtime.clock import Deadline
from runner.supervisor.layout import Child, children
from runner.tracker.publisher import HttpPublisher, route_to_atlas


def checks(config: Config, path: Path, outside: Outside, environ: Mapping[str, str]) -> Iterator[ConnectCheck]:
    """atlas always; the broker if the configuration has the protocol amqp."""
    route = route_to_atlas(config.atlas_url, config.results, environ)
    publisher = HttpPublisher(route, lambda _: "", http=outside.http(), clock=outside.clock)
    yield ConnectCheck(f"atlas at {config.atlas_url}", (partial(_atlas, publisher),))
    for child in children(config, path, environ):
        if child.name == "amqp":
            yield ConnectCheck("RabbitMQ", (partial(_broker, child),))


def _atlas(publisher: HttpPublisher, deadline: Deadline) -> Finding:
    publisher.check(deadline)
    return Finding("answers; no result was sent")


def _broker(child: Child, deadline: Deadline) -> Finding:
    """The libraries for RabbitMQ, and the broker's password, belong to the process of that protocol alone."""
    command = [*child.command[:-1], f"{child.command[-1]}.check"]
    try:
        done = subprocess.run(
            command,
            env=dict(child.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=max(deadline.left, 0.1),
            check=False,
        )
    except subprocess.TimeoutExpired:
        advice = "check ORCHESTRATOR_AMQP_URL, the network and the broker"
        return Finding("the broker did not answer in time", "not ok", advice)
    said = (done.stdout if done.stdout.strip() else done.stderr).strip().splitlines() or ["nothing was said"]
    return Finding(said[-1], "ok" if done.returncode == 0 else "not ok")
