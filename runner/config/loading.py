"""Reading the configuration: one YAML file, and the environment for secrets and where the file is silent.

Everything wrong is reported at once. The file's values win; the environment fills gaps, as the installations' present
orchestrator does it.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from runner.config.reading import read
from runner.config.types import Config, Deepsource, GrpcTls, Http, Nomad, Rabbitmq, Runner
from runner.errors import Invalid, Malformed, Problem
from runner.request_types import by_spelling

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
    _settle_driver(document)
    for variable, keys in _ENVIRONMENT.items():
        if value := environ.get(variable):
            _fill(document, keys, _yaml(value, variable) if variable in _YAML_VARIABLES else value)
    try:
        encoded = msgspec.json.encode(document)
    except (TypeError, ValueError, RecursionError) as error:
        raise Malformed(f"the configuration has a value that is no text, number, list or mapping: {error}") from error
    return read(encoded, Config, unknown="refuse", rules=_problems)


def _yaml(text: str, what: str) -> Any:
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader's subclass)
    except yaml.MarkedYAMLError as error:
        # PyYAML's own message quotes the line, which may be one of a private key; the cause would show it in a log.
        mark = error.problem_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise Malformed(f"{what} is not YAML: {error.problem}{where}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise Malformed(f"{what} is not YAML: {error}") from None
    return {} if document is None else document


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice, which YAML forbids and PyYAML lets through; says in which line a value is wrong.

    PyYAML lets Python's own errors out for a month 13, for `!!int x` and for a list as a key.
    """

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, AttributeError):
            raise _refusal("this value does not fit its form", node) from None

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise _refusal("a key must be text", key_node)
            if key in seen:
                raise _refusal(f"the key {key!r} stands twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)


_MERGE = "tag:yaml.org,2002:merge"


def _refusal(problem: str, node: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _settle_driver(document: dict[str, Any]) -> None:
    """The file's own `kubernetes` section chooses the driver; one that the environment adds to must not."""
    if document.get("kubernetes") is None and document.get("driver") is None:
        document["driver"] = "local"


def _fill(document: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    """Set the value where the file has none."""
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
    """What no single value shows. Parts that could not be read are None here, and have been reported already."""
    if config.runner is not None:
        yield from _runner_problems(config.runner)
    if config.deepsource is not None:
        yield from _deepsource_problems(config.deepsource, config.http)
    if config.rabbitmq is not None:
        yield from _rabbitmq_problems(config.rabbitmq)
    if config.pools is not None and config.default_pool not in (None, "default", *config.pools):
        yield Problem("/defaultPool", f"names no pool of this file; known: {', '.join(config.pools) or 'none'}")
    if config.sidecar is not None:
        yield from _sidecar_problems(config)
    if config.nomad is not None:
        yield from _nomad_problems(config.nomad)
    if config.protocols == ():
        yield Problem("/protocols", "must name at least one way in")
    if config.grpc is not None and config.grpc.tls is not None:
        yield from _grpc_problems(config.grpc.tls)


def _rabbitmq_problems(rabbitmq: Rabbitmq) -> Iterator[Problem]:
    if rabbitmq.delays is not None and None not in rabbitmq.delays and not _grow(rabbitmq.delays):
        yield Problem("/rabbitmq/delays", "must grow from one to the next")
    meant: dict[str, str] = {}
    for name, row in by_spelling().items():
        place = (rabbitmq.queues or {}).get(name)
        if meant.setdefault((place and place.queue) or name, row.name) != row.name:
            yield Problem(f"/rabbitmq/queues/{name}/queue", "must not be another request type's queue")


def _grow(delays: tuple[int, ...]) -> bool:
    return list(delays) == sorted(set(delays))


def _runner_problems(runner: Runner) -> Iterator[Problem]:
    if runner.id == "":
        yield Problem("/runner/id", "is required: it is who we are to atlas")
    if runner.private_key == "":
        yield Problem("/runner/privateKey", "is required (or ORCHESTRATOR_PRIVATE_KEY): it signs result tokens")
    elif runner.private_key is not None and not _is_pem(runner.private_key):
        yield Problem("/runner/privateKey", "must be an RSA private key in PEM")


def _deepsource_problems(deepsource: Deepsource, http: Http | None) -> Iterator[Problem]:
    if deepsource.host == "":
        yield Problem("/deepsource/host", "is required: results go there")
    if deepsource.public_key == "" and not (http and http.allow_unauthenticated):
        yield Problem(
            "/deepsource/publicKey",
            "is required (or ORCHESTRATOR_PUBLIC_KEY): it verifies atlas's requests; http.allowUnauthenticated: true"
            " takes requests from anybody",
        )
    elif deepsource.public_key and not _is_pem(deepsource.public_key):
        yield Problem("/deepsource/publicKey", "must be an RSA public key in PEM")


def _is_pem(key: str) -> bool:
    return key.lstrip().startswith("-----BEGIN")


def _sidecar_problems(config: Config) -> Iterator[Problem]:
    (socket, workers) = (config.sidecar.socket, config.sidecar.workers)
    if socket is not None and len(socket.encode()) > 100:
        yield Problem("/sidecar/socket", "must be at most 100 bytes long: the kernel takes no longer socket path")
    if None not in (config.pools, workers) and workers > 1 and "memory" in config.drivers():
        yield Problem("/sidecar/workers", "must be 1 with the memory driver, whose jobs live in one process")


def _nomad_problems(nomad: Nomad) -> Iterator[Problem]:
    for one, other, missing in (
        ("keyFile", nomad.cert_file, nomad.key_file),
        ("certFile", nomad.key_file, nomad.cert_file),
    ):
        if other and missing == "":
            yield Problem(f"/nomad/{one}", "is required with the other of certFile and keyFile")
    for name, path in (("caFile", nomad.ca_file), ("certFile", nomad.cert_file), ("keyFile", nomad.key_file)):
        if path and not os.access(path, os.R_OK):
            yield Problem(f"/nomad/{name}", f"names a file that cannot be read: {path}")


def _grpc_problems(tls: GrpcTls) -> Iterator[Problem]:
    if tls.certificate == "" and (tls.key or tls.client_ca):
        yield Problem("/grpc/tls/certificate", "is required where grpc.tls has a key or a clientCa")
    for name, path in (("certificate", tls.certificate), ("key", tls.key), ("clientCa", tls.client_ca)):
        if path and not os.access(path, os.R_OK):
            yield Problem(f"/grpc/tls/{name}", f"names a file that cannot be read: {path}")


__all__ = ["DEFAULT_PATH", "PATH_VARIABLE", "Invalid", "load", "locate", "parse"]
