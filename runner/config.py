"""Reading the configuration: one YAML file, and the environment for secrets and where the file is silent.

Everything wrong is reported at once. The file's values win; the environment fills gaps, as the installations' present
orchestrator does it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from runner.errors import Invalid, Malformed, Problem
from runner.reading import read
from runner.settings import Config

DEFAULT_PATH = "orchestrator.yaml"
PATH_VARIABLE = "ORCHESTRATOR_CONFIG"

_ENVIRONMENT: dict[str, tuple[str, ...]] = {
    "TASK_NAMESPACE": ("kubernetes", "namespace"),
    "TASK_NODE_SELECTOR": ("kubernetes", "nodeSelector"),
    "TASK_IMAGE_REGISTRY_URL": ("kubernetes", "imageRegistry", "registryUrl"),
    "TASK_IMAGE_PULL_SECRET_NAME": ("kubernetes", "imageRegistry", "pullSecretName"),
    "TASK_ARTIFACT_SECRET_NAME": ("artifactSecretName",),
    "ORCHESTRATOR_RUNNER_ID": ("runner", "id"),
    "ORCHESTRATOR_PRIVATE_KEY": ("runner", "privateKey"),
    "ORCHESTRATOR_PUBLIC_KEY": ("deepsource", "publicKey"),
    "ORCHESTRATOR_SENTRY_DSN": ("sentry", "dsn"),
}
_YAML_VARIABLES = frozenset({"TASK_NODE_SELECTOR"})


def locate(path: str | None, environ: Mapping[str, str]) -> Path:
    """The file to read: as given, else as `ORCHESTRATOR_CONFIG` says, else `orchestrator.yaml` here."""
    return Path(path or environ.get(PATH_VARIABLE) or DEFAULT_PATH)


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """The configuration in `path`. Raises Malformed where it is no YAML, Invalid with everything else wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed(f"the configuration {path} cannot be read: {error}") from error
    return parse(text, environ)


def parse(text: str, environ: Mapping[str, str]) -> Config:
    """The configuration in `text`, checked."""
    document = _yaml(text, "the configuration")
    if not isinstance(document, dict):
        raise Malformed("the configuration must be a mapping of sections; see docs/configuration.md")
    for variable, keys in _ENVIRONMENT.items():
        if value := environ.get(variable):
            _fill(document, keys, _yaml(value, variable) if variable in _YAML_VARIABLES else value)
    try:
        encoded = msgspec.json.encode(document)
    except (TypeError, ValueError) as error:
        raise Malformed(f"the configuration has a value that is no text, number, list or mapping: {error}") from error
    return read(encoded, Config, unknown="refuse", rules=_problems)


def _yaml(text: str, what: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader) or {}  # noqa: S506  (a SafeLoader's subclass)
    except yaml.YAMLError as error:
        raise Malformed(f"{what} is not YAML: {error}") from error


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice, which YAML forbids and PyYAML lets through."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _fill(document: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    """Set the value where the file has none. Never creates `kubernetes`, whose presence chooses the driver."""
    *sections, last = keys
    for section in sections:
        inner = document.get(section)
        if inner is None:
            inner = document[section] = {}
        if not isinstance(inner, dict):
            return
        document = inner
    if not document.get(last):
        document[last] = value


def _problems(config: Config) -> Iterator[Problem]:
    """What no single value shows. Parts that could not be read are None here."""
    if config.runner is not None and config.deepsource is not None:
        yield from _identity_problems(config)
    if config.pools is not None and config.default_pool not in (None, "default", *config.pools):
        yield Problem("/defaultPool", f"names no pool of this file; known: {', '.join(config.pools) or 'none'}")
    if config.sidecar is not None and len(config.sidecar.socket.encode()) > 100:
        yield Problem("/sidecar/socket", "must be at most 100 bytes long: the kernel takes no longer socket path")
    if None not in (config.pools, config.sidecar) and "memory" in config.drivers() and config.sidecar.workers > 1:
        yield Problem("/sidecar/workers", "must be 1 with the memory driver, whose jobs live in one process")


def _identity_problems(config: Config) -> Iterator[Problem]:
    if not config.runner.id:
        yield Problem("/runner/id", "is required: it is who we are to atlas")
    if not config.deepsource.host:
        yield Problem("/deepsource/host", "is required: results go there")
    if not config.runner.private_key:
        yield Problem("/runner/privateKey", "is required (or ORCHESTRATOR_PRIVATE_KEY): it signs result tokens")
    elif not config.runner.private_key.lstrip().startswith("-----BEGIN"):
        yield Problem("/runner/privateKey", "must be an RSA private key in PEM")
    open_door = config.http is not None and config.http.allow_unauthenticated
    if not config.deepsource.public_key and not open_door:
        yield Problem(
            "/deepsource/publicKey",
            "is required (or ORCHESTRATOR_PUBLIC_KEY): it verifies atlas's requests; http.allowUnauthenticated: true"
            " takes requests from anybody",
        )
    elif config.deepsource.public_key and not config.deepsource.public_key.lstrip().startswith("-----BEGIN"):
        yield Problem("/deepsource/publicKey", "must be an RSA public key in PEM")


__all__ = ["DEFAULT_PATH", "PATH_VARIABLE", "Invalid", "load", "locate", "parse"]
