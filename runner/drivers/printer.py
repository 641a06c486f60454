"""The printer driver: a dry run. It prints what would be created and remembers it, so that repeats and cancels hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

import yaml

from runner.config.types import Config
from runner.drivers.kubernetes.manifest import Manifest, job_manifest, secret_manifest, tombstone_manifest
from runner.drivers.memory import MemoryDriver
from runner.jobs import Cancellation, JobSpec, ResolveSecrets, State
from runner.runtime.clock import Clock, Deadline

MASK = "***"
OWNER = "00000000-0000-0000-0000-000000000000"
"""Stands for the Job's uid, which the API server chooses."""

NONCE = "00000000"
"""Stands for what the driver draws anew for each Job that it creates."""


class PrinterDriver(MemoryDriver):
    """The memory driver with a voice."""

    name = "printer"

    def __init__(self, config: Config, *, resolve_secrets: ResolveSecrets, clock: Clock, out: TextIO) -> None:
        super().__init__(resolve_secrets=resolve_secrets, clock=clock)
        self._config = config
        self._out = out

    def submit(self, job: JobSpec, deadline: Deadline) -> State:
        """See Driver.submit."""
        state = super().submit(job, deadline)
        if state == "created":
            self._print(render(job, self._config))
        return state

    def cancel(self, cancellation: Cancellation, deadline: Deadline, *, tombstone: bool) -> State | None:
        """See Driver.cancel."""
        known = any(seen.name == cancellation.name for seen in self.observe())
        state = super().cancel(cancellation, deadline, tombstone=tombstone)
        if state and not known:
            self._print(show([tombstone_manifest(cancellation, self._config, self._config.default_pool)]))
        return state

    def _print(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def render(job: JobSpec, config: Config, values: Mapping[str, str] | None = None) -> str:
    """The job's objects as YAML documents; the secrets' values masked unless they are given."""
    shown = dict.fromkeys(job.secrets, MASK) if values is None else values
    manifest = job_manifest(job, config, nonce=NONCE)
    secret = secret_manifest(job, config, shown, name=f"{job.name}-{NONCE}", owner_uid=OWNER)
    return show([manifest, secret])


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as one, which is how a person reads the TOML among the arguments."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def show(manifests: list[Manifest]) -> str:
    """The objects as a stream of YAML documents, in the order that they are written in."""
    return "".join("---\n" + yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=110) for manifest in manifests)
