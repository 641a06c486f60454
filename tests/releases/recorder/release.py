"""The names that differ between releases, each with the places where it may be found, the newest first."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from tests.rounds import observed


def _find(*places: str) -> Any:
    """What is at the first of the places (`module:name`) that this release has."""
    for place in places:
        module, _, name = place.partition(":")
        try:
            return getattr(import_module(module), name)
        except (ModuleNotFoundError, AttributeError):
            continue
    raise ImportError(f"this release has none of {', '.join(places)}; add the place that it has to recorder/release.py")


parse = _find("runner.config.loading:parse", "runner.config:parse")
plan = _find("runner.commands:plan")
decode = _find("runner.payloads:decode")
_rows = _find("runner.request_types:REQUEST_TYPES", "runner.payloads:REQUEST_TYPES")
request_types = {name: getattr(row, "payload", row) for name, row in _rows.items()}
"""Payloads by name. In 0.1 the table held nothing else."""
Policy = _find("runner.payloads:RequestPolicy", "runner.payloads:Terms")
Deadline = _find("runner.runtime.clock:Deadline", "runner.drivers:Deadline")
try:
    Clock = _find("runner.runtime.clock:SystemClock")
except ImportError:  # 0.1 has none
    Clock = None
Outcome = _find("runner.observation:Outcome", "runner.outcomes:Outcome")
classify = _find("runner.tracker.outcomes:classify", "runner.outcomes:classify")
result = _find("runner.tracker.results:result", "runner.results:result")
LocalImage = _find("runner.config.types:LocalImage", "runner.settings:LocalImage")
LocalDriver = _find("runner.drivers.local.driver:LocalDriver", "runner.drivers.local:LocalDriver")
KubernetesDriver = _find(
    "runner.drivers.kubernetes.driver:KubernetesDriver", "runner.drivers.kubernetes:KubernetesDriver"
)
ApiServer = _find("runner.drivers.kubernetes.api:ApiServer", "runner.drivers.kubernetes_api:ApiServer")
NomadDriver = _find("runner.drivers.nomad.driver:NomadDriver", "runner.drivers.nomad:NomadDriver")
Agent = _find("runner.drivers.nomad.api:Agent", "runner.drivers.nomad_api:Agent")
Frame = _find("runner.sidecar.frames:Frame", "runner.frames:Frame")
encode_frame = _find("runner.sidecar.frames:encode", "runner.frames:encode")
Problem = _find("runner.errors:Problem")
submission = _find("runner.sidecar.client:submission", "runner.client:submission")
JobResult = _find("runner.jobs:JobResult", "runner.jobs:Placed")


def make(driver: Callable[..., Any], *arguments: Any, secrets: Callable[[Any], dict[str, str]], **settings: Any) -> Any:
    """A driver of this release."""
    keyword = next(name for name in ("resolve_secrets", "unseal") if name in inspect.signature(driver).parameters)
    return driver(*arguments, **{keyword: secrets}, **settings)


def after(seconds: float) -> Any:
    """A deadline of this release."""
    arguments = () if Clock is None else (Clock(),)
    return Deadline.after(seconds, *arguments)


def listed(driver: Any) -> Iterable[Any]:
    """Every job that the driver knows; what has to be done about them is done as well."""
    return observed(driver)


def frames() -> dict[str, type]:
    """Every frame of this release by its tag."""
    return {kind.__struct_config__.tag: kind for kind in Frame.__subclasses__()}
