"""The names that differ between releases, each with the places where a release may have it, the newest first."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

Secrets = Callable[[Any], dict[str, str]]
"""Gives the values of a job's secrets."""


def _find_any(*places: str) -> Any:
    """The object at the first of the places (`module:name`) that this release has, or None."""
    for place in places:
        module, _, name = place.partition(":")
        try:
            return getattr(import_module(module), name)
        except (ModuleNotFoundError, AttributeError):
            continue
    return None


def _find(*places: str) -> Any:
    """As `_find_any`. Raises ImportError if this release has none of the places."""
    found = _find_any(*places)
    if found is None:
        raise ImportError(f"this release has none of {', '.join(places)}; add its place to recorder/release.py")
    return found


parse = _find("runner.config.loading:parse", "runner.config:parse")
plan = _find("runner.commands:plan")
decode = _find("runner.payloads:decode")
_rows = _find("runner.request_types:REQUEST_TYPES", "runner.payloads:REQUEST_TYPES")
request_types = {name: getattr(row, "payload", row) for name, row in _rows.items()}
"""Payloads by name. In 0.1 the table held nothing else."""
Policy = _find("runner.payloads:RequestPolicy", "runner.payloads:Terms")
Deadline = _find("runner.runtime.clock:Deadline", "runner.drivers:Deadline")
Outcome = _find("runner.observation:Outcome", "runner.outcomes:Outcome")
classify = _find("runner.outcomes:classify", "runner.outcomes:classify")
result = _find("runner.tracker.results:result", "runner.results:result")
LocalImage = _find("runner.config.drivers:LocalImage", "runner.settings:LocalImage")
LocalDriver = _find("runner.drivers.local.driver:LocalDriver", "runner.drivers.local:LocalDriver")
KubernetesDriver = _find(
    "runner.drivers.kubernetes.driver:KubernetesDriver", "runner.drivers.kubernetes:KubernetesDriver"
)
ApiServerClient = _find("runner.drivers.kubernetes.api:ApiServerClient", "runner.drivers.kubernetes_api:ApiServer")
NomadDriver = _find("runner.drivers.nomad.driver:NomadDriver", "runner.drivers.nomad:NomadDriver")
NomadClient = _find("runner.drivers.nomad.api:NomadClient", "runner.drivers.nomad_api:Agent")
Frame = _find("runner.sidecar.frames:Frame", "runner.frames:Frame")
encode_frame = _find("runner.sidecar.frames:encode", "runner.frames:encode")
Problem = _find("runner.errors:Problem")
submission = _find("runner.sidecar.frames:submission", "runner.sidecar.client:submission", "runner.client:submission")
JobResult = _find("runner.jobs:JobResult", "runner.jobs:Placed")
_system = _find_any("runner.composition:system")
"""Gives clock, randomness and HTTP clients. None in releases whose drivers create these themselves."""


def kubernetes_driver(config: Any, secrets: Secrets, wrap: Callable[[Any], Any] = lambda client: client) -> Any:
    """This release's Kubernetes driver, with `wrap` around its client of the API server."""
    client = wrap(_make(ApiServerClient, config.cluster))
    return _make(KubernetesDriver, config, api=client, secrets=secrets)


def nomad_driver(config: Any, secrets: Secrets, wrap: Callable[[Any], Any] = lambda client: client) -> Any:
    """This release's Nomad driver, with `wrap` around its client of Nomad."""
    client = wrap(_make(NomadClient, config.nomad))
    return _make(NomadDriver, config, agent=client, secrets=secrets)


def local_driver(directory: Path, secrets: Secrets) -> Any:
    """This release's local driver, with one slot."""
    return _make(LocalDriver, directory, parallelism=1, images={"*": LocalImage()}, secrets=secrets)


def after(seconds: float) -> Any:
    """A deadline of this release."""
    return _make(Deadline.after, seconds)


def listed(driver: Any) -> Iterable[Any]:
    """Every job that the driver lists, once it has reconciled them."""
    if not hasattr(driver, "reconcile"):  # before the two were split
        return list(driver.observe())
    driver.reconcile()
    return list(driver.list())


def mark(driver: Any, seen: Any, outcome: Any = None) -> None:
    """Mark a job as reported, with its own outcome or another. 0.1 marked by the name."""
    by_name = "name" in inspect.signature(driver.mark_reported).parameters
    driver.mark_reported(seen.name if by_name else seen, outcome or classify(seen))


def frames() -> dict[str, type]:
    """Every frame of this release by its tag."""
    return {kind.__struct_config__.tag: kind for kind in Frame.__subclasses__()}


def _make(make: Callable[..., Any], *arguments: Any, secrets: Secrets | None = None, **keywords: Any) -> Any:
    """Call `make` with the arguments, and with clock, randomness and HTTP client if it takes them in this release.

    `secrets` is passed by the one required keyword that is left: its name differs between releases.
    """
    parameters = inspect.signature(make).parameters
    if _system is not None:
        outside = _system()
        known = {"clock": outside.clock, "random": outside.random, "http": outside.http()}
        keywords |= {name: value for name, value in known.items() if name in parameters}
    if secrets is not None:
        (keyword,) = (
            name
            for name, parameter in parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
            and parameter.default is parameter.empty
            and name not in keywords
        )
        keywords[keyword] = secrets
    return make(*arguments, **keywords)
