"""The composition root: the only place that knows all the parts.

config ─▶ signer ─▶ drivers ─┬▶ sidecar ─▶ pool of workers ─▶ socket
                             └▶ tracker ─▶ publisher ─▶ atlas
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from random import Random, SystemRandom
from typing import NamedTuple

from runner import commands
from runner.config.drivers import DriverName, LocalImage
from runner.config.types import Config, TelemetrySection
from runner.drivers.driver import Driver
from runner.drivers.http.client import HttpClient
from runner.drivers.http.measured import MeasuredHttpClient
from runner.jobs import ResolveSecrets
from runner.runtime import concurrency
from runner.runtime.clock import Clock, SystemClock
from runner.runtime.metrics.meter import Meter, NoMeter, meter
from runner.runtime.tasks import Greenlets, Tasks, Threads
from runner.runtime.traces import NoTracer, Tracer
from runner.security.tokens import Signer
from runner.sidecar.server import Sidecar
from runner.tracker.circuit_breaker import ResultBreaker
from runner.tracker.leadership.leader import holder_name
from runner.tracker.metrics import TrackerMetrics
from runner.tracker.publisher import HttpPublisher, route_to_atlas
from runner.tracker.shared import Settings, Shared
from runner.tracker.tracker import Tracker

_PACKAGES = frozenset({"kubernetes", "nomad", "local"})
_HTTP = frozenset({"kubernetes", "nomad"})
_NO_TELEMETRY = TelemetrySection()


class Outside(NamedTuple):
    """What none of our code decides: time, chance and other servers. A simulation passes its own."""

    clock: Clock
    random: Random
    """For jitter and nonces."""
    http: Callable[[], HttpClient]
    """A new client, for one server."""
    tasks: Tasks = Threads()
    meter: Meter = NoMeter()
    """What this process records its metrics with."""
    tracer: Tracer = NoTracer()
    """What this process makes its spans with."""


def system(telemetry: TelemetrySection = _NO_TELEMETRY) -> Outside:
    """The host's clock, the kernel's randomness (which forked processes may share), and requests by libcurl.

    Belongs after the fork, as metrics are recorded by process, and spans are sent by a thread.
    """
    clock = SystemClock()
    tasks = Threads() if concurrency.hub() is None else Greenlets()
    return Outside(clock, SystemRandom(), lambda: _curl(clock), tasks, meter(os.environ), _tracer(telemetry, clock))


def sidecar(config: Config, outside: Outside | None = None) -> Sidecar:
    """Everything that answers frames. Opens connections, so it belongs after the fork."""
    outside = outside or system(config.telemetry)
    return Sidecar(config, drivers(config, outside), outside.clock, outside.tasks, outside.meter, outside.tracer)


def drivers(config: Config, outside: Outside | None = None) -> dict[str, Driver]:
    """The drivers that some pool of the configuration leads to, by name."""
    outside = outside or system()
    signer = Signer(config.runner.private_key, config.runner.id, outside.clock.wall)
    made: dict[str, Driver] = {
        name: _BUILDERS[name](config, signer.resolve_secrets, outside) for name in config.drivers()
    }
    if len(made) > 1:  # a name must be free in all of them
        for name, driver in made.items():
            driver.join([other for other_name, other in made.items() if other_name != name])
    return made


def tracker(config: Config, outside: Outside | None = None) -> Tracker:
    """What follows every job to its end."""
    outside = outside or system(config.telemetry)
    signer = Signer(config.runner.private_key, config.runner.id, outside.clock.wall)
    publishers = config.tracker.publishers
    shared = Shared(
        publisher=HttpPublisher(
            route_to_atlas(config.atlas_url, config.results, os.environ),
            signer.sign,
            http=outside.http(),
            clock=outside.clock,
            tracer=outside.tracer,
        ),
        breaker=ResultBreaker(publishers, outside.clock, outside.random),
        metrics=TrackerMetrics(outside.meter, {pool: config.driver_of(pool) for pool in config.pool_names()}),
        clock=outside.clock,
        random=outside.random,
        tasks=outside.tasks,
        tracer=outside.tracer,
    )
    settings = Settings(
        limits=config.limits,
        publishers=publishers,
        interval=config.tracker.interval_seconds,
        orphaned=config.tracker.orphan_seconds,
    )
    return Tracker(drivers(config, outside), settings, shared, holder_name(outside.random))


def preload(config: Config) -> None:
    """Import what the workers need, before they are forked, so that they share its memory."""
    commands.preload()
    if config.telemetry.otlp_endpoint:
        import_module("runner.runtime.exported_traces")
    for name in config.drivers():
        import_module(f"runner.drivers.{name}.driver" if name in _PACKAGES else f"runner.drivers.{name}")
        if name in _HTTP:
            import_module("runner.drivers.http.curl")


def local(config: Config, resolve_secrets: ResolveSecrets, outside: Outside) -> Driver:
    """Jobs on this host."""
    from runner.drivers.local.driver import LocalDriver

    section = config.local
    return LocalDriver(
        Path(section.directory),
        parallelism=section.parallelism,
        # Trying a key takes this host's own sh, git and ssh, where the configuration has nothing else for it.
        images={"ssh-verify": LocalImage(), **section.images},
        resolve_secrets=resolve_secrets,
        clock=outside.clock,
    )


def kubernetes(config: Config, resolve_secrets: ResolveSecrets, outside: Outside) -> Driver:
    """Jobs on a Kubernetes cluster."""
    from runner.drivers.kubernetes.api import ApiServerClient
    from runner.drivers.kubernetes.driver import KubernetesDriver

    api = ApiServerClient(config.cluster, http=_measured("kubernetes", outside), clock=outside.clock)
    return KubernetesDriver(
        config, resolve_secrets=resolve_secrets, api=api, clock=outside.clock, random=outside.random
    )


def memory(_config: Config, resolve_secrets: ResolveSecrets, outside: Outside) -> Driver:
    """The model, which runs nothing."""
    from runner.drivers.memory import MemoryDriver

    return MemoryDriver(resolve_secrets=resolve_secrets, clock=outside.clock)


def nomad(config: Config, resolve_secrets: ResolveSecrets, outside: Outside) -> Driver:
    """Jobs on a Nomad cluster."""
    from runner.drivers.nomad.api import NomadClient
    from runner.drivers.nomad.driver import NomadDriver

    agent = NomadClient(config.nomad, http=_measured("nomad", outside), clock=outside.clock)
    return NomadDriver(config, resolve_secrets=resolve_secrets, agent=agent, clock=outside.clock, random=outside.random)


def printer(config: Config, resolve_secrets: ResolveSecrets, outside: Outside) -> Driver:
    """A dry run."""
    from runner.drivers.printer import PrinterDriver

    return PrinterDriver(config, resolve_secrets=resolve_secrets, clock=outside.clock, out=sys.stdout)


def _measured(driver: DriverName, outside: Outside) -> HttpClient:
    """A client of the driver's cluster, whose requests are recorded if metrics are on."""
    if isinstance(outside.meter, NoMeter):
        return outside.http()
    return MeasuredHttpClient(outside.http(), driver, outside.meter, outside.clock)


def _tracer(telemetry: TelemetrySection, clock: Clock) -> Tracer:
    if not telemetry.otlp_endpoint:
        return NoTracer()
    from runner.runtime.exported_traces import ExportingTracer  # its packages may be missing

    return ExportingTracer(telemetry.otlp_endpoint, clock)


def _curl(clock: Clock) -> HttpClient:
    from runner.drivers.http.curl import CurlHttpClient

    return CurlHttpClient(clock)


_BUILDERS: dict[DriverName, Callable[[Config, ResolveSecrets, Outside], Driver]] = {
    "local": local,
    "kubernetes": kubernetes,
    "memory": memory,
    "nomad": nomad,
    "printer": printer,
}
