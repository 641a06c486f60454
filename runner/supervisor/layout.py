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
from runner.runtime.metrics import files as metrics_files
from runner.sidecar.client import SOCKET_VARIABLE
from runner.tracker.health import HEALTH_VARIABLE, health_file

HOME = Path(__file__).resolve().parents[2]

AMQP_PREFIX = "ORCHESTRATOR_AMQP_"
"""Prefix of the variables with the broker's URL and credentials, which only the RabbitMQ process gets."""

SILENT_SECONDS = 30.0
"""A tracker that has not renewed its health file for so long is replaced."""

_SECRETS = ("ORCHESTRATOR_PRIVATE_KEY", "ORCHESTRATOR_SENTRY_DSN")


PARTS = ("sidecar", "tracker", "amqp")
"""The parts whose readiness the process that serves the metrics reports."""


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
    shared = _shared(config, path, environ)
    broker = {name: value for name, value in environ.items() if name.startswith(AMQP_PREFIX)}
    edge = _edge(config, shared)
    gunicorn = _python("gunicorn", "-c", str(HOME / "gunicorn.conf.py"), "functions.bundle:app")
    grpc = Child("grpc", _python("functions.grpc"), edge | _section_variable(GRPC, config))
    protocols = {
        "http": [Child("http", gunicorn, edge | _section_variable(HTTP, config))],
        # These processes share the port: the kernel distributes connections among them.
        "grpc": [structs.replace(grpc, name=f"grpc {number}") for number in range(1, config.grpc.workers + 1)],
        "amqp": [Child("amqp", _python("functions.amqp"), edge | broker | _section_variable(RABBITMQ, config))],
    }
    return (
        *_sidecar_and_tracker(config, shared),
        *_exporter(config, shared, ("amqp",) if "amqp" in config.protocols else ()),
        *(child for protocol in dict.fromkeys(config.protocols) for child in protocols[protocol]),
    )


def sidecar_children(config: Config, path: Path, environ: Mapping[str, str]) -> tuple[Child, ...]:
    """The pool, the tracker of its jobs, and what serves their metrics."""
    shared = _shared(config, path, environ)
    return (*_sidecar_and_tracker(config, shared), *_exporter(config, shared))


def pool_children(config: Config, path: Path, environ: Mapping[str, str]) -> tuple[Child, ...]:
    """The pool without a tracker, and what serves its metrics."""
    shared = _shared(config, path, environ)
    return _sidecar(shared), *_exporter(config, shared, parts=("sidecar",))


def tracker_children(config: Config, path: Path, environ: Mapping[str, str]) -> tuple[Child, ...]:
    """The tracker alone, and what serves its metrics."""
    shared = _shared(config, path, environ)
    return _tracker(config, shared), *_exporter(config, shared, parts=("tracker",))


def _sidecar_and_tracker(config: Config, shared: Mapping[str, str]) -> tuple[Child, ...]:
    return (_sidecar(shared), _tracker(config, shared)) if tracked(config) else (_sidecar(shared),)


def _sidecar(shared: Mapping[str, str]) -> Child:
    return Child("sidecar", _python("runner", "serve", "--no-tracker"), shared, on_reload="signal")


def _tracker(config: Config, shared: Mapping[str, str]) -> Child:
    health = shared.get(HEALTH_VARIABLE) or str(health_file(config.sidecar.socket))
    environment = {**shared, HEALTH_VARIABLE: health}
    return Child("tracker", _python("runner", "track"), environment, on_reload="replace", health=Path(health))


def tracked(config: Config) -> tuple[str, ...]:
    """The drivers whose jobs have a tracker.

    Jobs of the memory and printer drivers exist only in the sidecar's process, where a tracker cannot list them.
    """
    return tuple(name for name in config.drivers() if name not in ("memory", "printer"))


def _exporter(
    config: Config, shared: Mapping[str, str], more: tuple[str, ...] = (), parts: tuple[str, ...] = ()
) -> tuple[Child, ...]:
    """The process that serves the metrics, if they are on. `parts` are those whose readiness it reports."""
    if not config.metrics.bind:
        return ()
    parts = parts or (("sidecar", "tracker") if tracked(config) else ("sidecar",))
    options = [f"--part={part}" for part in (*parts, *more)] + [f"--driver={driver}" for driver in tracked(config)]
    command = _python("runner", "metrics", f"--bind={config.metrics.bind}", *options)
    return (Child("metrics", command, _edge(config, shared)),)


def _edge(config: Config, shared: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that gets no key."""
    edge = {name: value for name, value in shared.items() if name not in _SECRETS}
    return edge | {SOCKET_VARIABLE: config.sidecar.socket, LEVEL_VARIABLE: config.logs.level.upper()}


def _python(*module: str) -> Sequence[str]:
    return (sys.executable, "-m", *module)


def _shared(config: Config, path: Path, environ: Mapping[str, str]) -> dict[str, str]:
    others = {name: value for name, value in environ.items() if not name.startswith(AMQP_PREFIX)}
    if config.metrics.bind:
        others[metrics_files.VARIABLE] = str(metrics_files.beside(config.sidecar.socket))
    return {**others, PATH_VARIABLE: str(path), "PYTHONPATH": _module_path(environ.get("PYTHONPATH", ""))}


def _module_path(inherited: str) -> str:
    """PYTHONPATH with this tree first. An empty one adds no entry: an empty entry means the working directory."""
    return os.pathsep.join([str(HOME), inherited] if inherited else [str(HOME)])


def _section_variable(section: SectionVariable[Any], config: Config) -> dict[str, str]:
    return {section.variable: section.encode(config)}
