"""Which processes a configuration needs, each with its command line, its environment and its part in a reload."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import structs

from runner.config.loading import PATH_VARIABLE
from runner.config.section_variable import GRPC, HTTP, RABBITMQ, SectionVariable
from runner.config.types import Config
from runner.runtime.logs import LEVEL_VARIABLE
from runner.sidecar.client import SOCKET_VARIABLE
from runner.tracker.health import HEALTH_VARIABLE

HOME = Path(__file__).resolve().parents[2]

AMQP_PREFIX = "ORCHESTRATOR_AMQP_"
"""Prefix of the variables with the broker's URL and credentials, which only the RabbitMQ process gets."""

SILENT_SECONDS = 30.0
"""A tracker that has not renewed its health file for so long is replaced."""

_SECRETS = ("ORCHESTRATOR_PRIVATE_KEY", "ORCHESTRATOR_SENTRY_DSN")


class Child(msgspec.Struct, frozen=True):
    """A process to keep running."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    on_reload: Literal["keep", "signal", "replace"] = "keep"
    """What a reload does to it where its command and environment stay the same. If they change, it is replaced."""
    health: Path | None = None
    """The file that it renews while it makes progress."""
    silence: float = SILENT_SECONDS
    """Seconds without a renewal after which it is killed and started again."""


def children(config: Config, path: Path, environ: Mapping[str, str]) -> tuple[Child, ...]:
    """All processes that the configuration names, in the order of their start."""
    shared = _shared(path, environ)
    broker = {name: value for name, value in environ.items() if name.startswith(AMQP_PREFIX)}
    edge = {name: value for name, value in shared.items() if name not in _SECRETS}
    edge |= {SOCKET_VARIABLE: config.sidecar.socket, LEVEL_VARIABLE: config.logs.level.upper()}
    gunicorn = _python("gunicorn", "-c", str(HOME / "gunicorn.conf.py"), "functions.bundle:app")
    grpc = Child("grpc", _python("functions.grpc"), edge | _section_variable(GRPC, config))
    protocols = {
        "http": [Child("http", gunicorn, edge | _section_variable(HTTP, config))],
        # These processes share the port: the kernel distributes connections among them.
        "grpc": [structs.replace(grpc, name=f"grpc {number}") for number in range(1, config.grpc.workers + 1)],
        "amqp": [Child("amqp", _python("functions.amqp"), edge | broker | _section_variable(RABBITMQ, config))],
    }
    return (
        *sidecar_children(config, path, environ),
        *(child for protocol in dict.fromkeys(config.protocols) for child in protocols[protocol]),
    )


def sidecar_children(config: Config, path: Path, environ: Mapping[str, str]) -> tuple[Child, ...]:
    """The pool, and the tracker of its jobs."""
    shared = _shared(path, environ)
    sidecar = Child("sidecar", _python("runner", "serve", "--no-tracker"), shared, on_reload="signal")
    # Jobs of the memory and printer drivers exist only in the sidecar's process, where a tracker cannot list them.
    if not set(config.drivers()) - {"memory", "printer"}:
        return (sidecar,)
    health = Path(f"{config.sidecar.socket}.tracker.health")
    environment = shared | {HEALTH_VARIABLE: str(health)}
    return sidecar, Child("tracker", _python("runner", "track"), environment, on_reload="replace", health=health)


def _python(*module: str) -> Sequence[str]:
    return (sys.executable, "-m", *module)


def _shared(path: Path, environ: Mapping[str, str]) -> dict[str, str]:
    others = {name: value for name, value in environ.items() if not name.startswith(AMQP_PREFIX)}
    return {**others, PATH_VARIABLE: str(path), "PYTHONPATH": _module_path(environ.get("PYTHONPATH", ""))}


def _module_path(inherited: str) -> str:
    """PYTHONPATH with this tree first. An empty one adds no entry: an empty entry means the working directory."""
    return os.pathsep.join([str(HOME), inherited] if inherited else [str(HOME)])


def _section_variable(section: SectionVariable[Any], config: Config) -> dict[str, str]:
    return {section.variable: section.encode(config)}
