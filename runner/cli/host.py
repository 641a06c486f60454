"""What a configuration needs of this host and does not find: files, programs, directories to write to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from runner.config.types import Config
from runner.errors import Unavailable
from runner.runtime import temporary
from runner.security import pem_files


def missing(config: Config, environ: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each thing. It begins with the key of the configuration."""
    if problem := temporary.problem():
        yield problem
    yield from _unwritable_file("sidecar.socket", Path(config.sidecar.socket))
    if config.metrics.bind.startswith("unix:"):
        yield from _unwritable_file("metrics.bind", Path(config.metrics.bind.removeprefix("unix:")))
    yield from _unusable_files(config, environ)
    if "amqp" in config.protocols and config.rabbitmq.health_file:
        yield from _unwritable_file("rabbitmq.healthFile", Path(config.rabbitmq.health_file))
    drivers = config.drivers()
    if "local" in drivers:
        yield from _missing_for_local(config)
    if "nomad" in drivers and (problem := _token_problem(config.nomad.token_file)):
        yield f"nomad.tokenFile {problem}"
    if "kubernetes" in drivers and config.cluster.kubeconfig:
        yield from _kubeconfig_problems(config, environ)


def _unusable_files(config: Config, environ: Mapping[str, str]) -> Iterator[str]:
    """Files of certificates and keys, of what is served and used. A kubeconfig's are checked with it."""
    authorities = {"results.caFile": config.results.ca_file}
    pairs: dict[str, tuple[str, str]] = {}
    if "grpc" in config.protocols:
        tls = config.grpc.tls
        authorities["grpc.tls.clientCa"] = tls.client_ca
        pairs["grpc.tls.certificate"] = (tls.certificate, tls.key)
    if "amqp" in config.protocols:
        ca, certificate, key = (f"ORCHESTRATOR_AMQP_{name}_FILE" for name in ("CA", "CERTIFICATE", "KEY"))
        authorities[ca] = environ.get(ca, "")
        pairs[certificate] = (environ.get(certificate, ""), environ.get(key, ""))
    if "nomad" in config.drivers():
        authorities["nomad.caFile"] = config.nomad.ca_file
        pairs["nomad.certFile"] = (config.nomad.cert_file, config.nomad.key_file)
    for name, path in authorities.items():
        if path and (problem := pem_files.certificates_problem(path)):
            yield f"{name} {problem}"
    for name, (certificate, key) in pairs.items():
        if certificate and (problem := pem_files.pair_problem(certificate, key)):
            yield f"{name} {problem}"


def _token_problem(path: str) -> str:
    """The token is a secret, so it is not quoted."""
    if not path or (problem := pem_files.unreadable(path)):
        return problem if path else ""
    token = Path(path).read_bytes().strip()
    if token.isascii() and token.decode().isprintable():
        return ""
    return f"names a file that is no token, one line of ASCII text: {path}"


def has_no_kubeconfig(config: Config, environ: Mapping[str, str]) -> bool:
    """Whether the Kubernetes driver would find no kubeconfig on this host. In a pod, it needs none."""
    if "kubernetes" not in config.drivers() or config.cluster.kubeconfig or "KUBERNETES_SERVICE_HOST" in environ:
        return False
    paths = (environ.get("KUBECONFIG") or "~/.kube/config").split(os.pathsep)
    return not any(path and Path(path).expanduser().exists() for path in paths)


def _kubeconfig_problems(config: Config, environ: Mapping[str, str]) -> Iterator[str]:
    from runner.drivers.kubernetes.credentials import check_kubeconfig  # late: the client's library is slow to load

    try:
        check_kubeconfig(config.cluster, environ)
    except Unavailable as error:
        yield f"kubernetes.kubeconfig {config.cluster.kubeconfig}: {error.detail}"


def _missing_for_local(config: Config) -> Iterator[str]:
    yield from _unwritable("local.directory", Path(config.local.directory))
    for name, image in config.local.images.items():
        if image.command and not shutil.which(image.command[0]):
            yield f"local.images.{name}.command is not an executable file on this host: {image.command[0]}"


def _unwritable_file(key: str, path: Path) -> Iterator[str]:
    """Whether a file cannot be made, and its directory cannot either."""
    if path.is_dir():
        yield f"{key} must name a file, and this is a directory: {path}"
    else:
        yield from _unwritable(key, path.parent)


def _unwritable(key: str, directory: Path) -> Iterator[str]:
    """Whether the directory can neither be written to nor be made."""
    existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not existing.is_dir():
        yield f"{key} cannot be used: {existing} is no directory"
    elif not os.access(existing, os.W_OK | os.X_OK):
        action = "written to" if existing == directory else f"made in {existing}"
        yield f"{key}: {directory} cannot be {action} by user {os.geteuid()}; choose another{_example(key)}"


def _example(key: str) -> str:
    """Where an ordinary user may put it."""
    return ", like $XDG_RUNTIME_DIR/orchestrator.sock (with its value)" if key == "sidecar.socket" else ""
