"""The composition root: the only place that knows all the parts.

config ─▶ signer ─▶ drivers ─┬▶ sidecar ─▶ pool of workers ─▶ socket
                             └▶ tracker ─▶ publisher ─▶ atlas
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from runner import commands
from runner.config.types import Config, DriverName, LocalImage
from runner.drivers.driver import Driver
from runner.jobs import ResolveSecrets
from runner.security.tokens import Signer
from runner.sidecar.server import Sidecar
from runner.tracker.publisher import HttpPublisher
from runner.tracker.tracker import Tracker

_PACKAGES = frozenset({"kubernetes", "nomad", "local"})


def sidecar(config: Config) -> Sidecar:
    """Everything that answers frames. Opens connections, so it belongs after the fork."""
    return Sidecar(config, drivers(config))


def drivers(config: Config) -> dict[str, Driver]:
    """The drivers that some pool of the configuration leads to, by name."""
    signer = Signer(config.runner.private_key, config.runner.id, time.time)
    return {name: _BUILDERS[name](config, signer.resolve_secrets) for name in config.drivers()}


def tracker(config: Config) -> Tracker:
    """What follows every job to its end."""
    signer = Signer(config.runner.private_key, config.runner.id, time.time)
    return Tracker(
        drivers(config),
        HttpPublisher(config.atlas_url, signer.sign),
        retention=config.limits.retention_seconds,
        orphan_age=config.tracker.orphan_seconds,
    )


def preload(config: Config) -> None:
    """Import what the workers need, before they are forked, so that they share its memory."""
    commands.preload()
    for name in config.drivers():
        import_module(f"runner.drivers.{name}.driver" if name in _PACKAGES else f"runner.drivers.{name}")


def _local(config: Config, resolve_secrets: ResolveSecrets) -> Driver:
    from runner.drivers.local.driver import LocalDriver

    local = config.local
    # Trying a key takes this host's own sh, git and ssh, where the configuration has nothing else for it.
    images = {"ssh-verify": LocalImage(), **local.images}
    return LocalDriver(
        Path(local.directory), parallelism=local.parallelism, images=images, resolve_secrets=resolve_secrets
    )


def _kubernetes(config: Config, resolve_secrets: ResolveSecrets) -> Driver:
    from runner.drivers.kubernetes.driver import KubernetesDriver

    return KubernetesDriver(config, resolve_secrets=resolve_secrets)


def _memory(_config: Config, resolve_secrets: ResolveSecrets) -> Driver:
    from runner.drivers.memory import MemoryDriver

    return MemoryDriver(resolve_secrets=resolve_secrets)


def _nomad(config: Config, resolve_secrets: ResolveSecrets) -> Driver:
    from runner.drivers.nomad.driver import NomadDriver

    return NomadDriver(config, resolve_secrets=resolve_secrets)


def _printer(config: Config, resolve_secrets: ResolveSecrets) -> Driver:
    from runner.drivers.printer import PrinterDriver

    return PrinterDriver(config, resolve_secrets=resolve_secrets, out=sys.stdout)


_BUILDERS: dict[DriverName, Callable[[Config, ResolveSecrets], Driver]] = {
    "local": _local,
    "kubernetes": _kubernetes,
    "memory": _memory,
    "nomad": _nomad,
    "printer": _printer,
}
