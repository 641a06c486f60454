"""What a configuration needs of this host and does not find: files, programs, directories to write to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from runner.config.types import Config
from runner.errors import Unavailable
from runner.runtime import temporary


def missing(config: Config, environ: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each thing. It begins with the key of the configuration."""
    if problem := temporary.problem():
        yield problem
    yield from _unwritable("sidecar.socket", Path(config.sidecar.socket).parent)
    if config.results.ca_file and not os.access(config.results.ca_file, os.R_OK):
        yield f"results.caFile names a file that cannot be read: {config.results.ca_file}"
    if "amqp" in config.protocols and config.rabbitmq.health_file:
        yield from _unwritable("rabbitmq.healthFile", Path(config.rabbitmq.health_file).parent)
    drivers = config.drivers()
    if "local" in drivers:
        yield from _missing_for_local(config)
    if "nomad" in drivers and (token := config.nomad.token_file) and not os.access(token, os.R_OK):
        yield f"nomad.tokenFile names a file that cannot be read: {token}"
    if "kubernetes" in drivers and config.cluster.kubeconfig:
        yield from _kubeconfig_problems(config, environ)


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
