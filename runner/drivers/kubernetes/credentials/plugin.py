"""Credential plugins of a kubeconfig (`exec`): run one, bounded in time, and read what it prints.

The official client's own runner waits for ever for a plugin that hangs, and logs failures instead of raising them. The
protocol is that of Kubernetes' client.authentication.k8s.io/v1.
"""

from __future__ import annotations

import base64
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from kubernetes.config import ConfigException

from runner.drivers.kubernetes.credentials.kubeconfig import Kubeconfig
from runner.security.keys import are_pair
from runner.security.masking import evidence_tail

PLUGIN_SECONDS = 10.0
"""After so long a plugin is killed; the next request runs it again."""

_OURS = "ORCHESTRATOR_"
"""Prefix of our own variables, some of them secret, which a plugin does not get."""

_KIND = "ExecCredential"
_CLUSTER = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")
_EXTENSION = "client.authentication.k8s.io/exec"


class _PluginStatus(msgspec.Struct, rename="camel"):
    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None
    expiration_timestamp: datetime | None = None
    """Checked and not used: what the API server refuses is renewed."""


class _Credential(msgspec.Struct, rename="camel"):
    api_version: str
    kind: str
    status: _PluginStatus


def login(kubeconfig: Kubeconfig, environ: Mapping[str, str]) -> dict[str, str]:
    """What the user's plugin returns, as values of a kubeconfig's user. Raises ConfigException with the reason."""
    plugin = kubeconfig.plugin
    assert plugin is not None
    try:
        return _login(_run(plugin, kubeconfig, environ), plugin)
    except ConfigException as error:
        raise ConfigException(
            f"the credential plugin of the kubeconfig's user {kubeconfig.user_name} returned neither token nor"
            f" certificate: {error}"
        ) from None


def _login(output: bytes, plugin: Mapping[str, Any]) -> dict[str, str]:
    try:
        credential = msgspec.json.decode(output, type=_Credential)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise ConfigException("it printed no ExecCredential") from None  # the output may be a secret
    if credential.kind != _KIND:
        raise ConfigException(f"it printed the kind {credential.kind!r}, not {_KIND}")
    if credential.api_version != plugin["apiVersion"]:
        raise ConfigException(f"it printed apiVersion {credential.api_version}, not {plugin['apiVersion']}")
    status = credential.status
    certificate, key = status.client_certificate_data or "", status.client_key_data or ""
    if not status.token and not certificate and not key:
        raise ConfigException("its status has none")
    if (certificate or key) and not are_pair(certificate, key):
        raise ConfigException("its status has no client certificate with the key of it, both in PEM")
    found = {"token": status.token} if status.token else {}
    if certificate:
        found["client-certificate-data"] = _base64(certificate.encode())
        found["client-key-data"] = _base64(key.encode())
    return found


def _run(plugin: Mapping[str, Any], kubeconfig: Kubeconfig, environ: Mapping[str, str]) -> bytes:
    added = {each["name"]: each.get("value") or "" for each in plugin.get("env", ())}
    inherited = {name: value for name, value in environ.items() if not name.startswith(_OURS)}
    try:
        process = subprocess.Popen(
            [plugin["command"], *plugin.get("args", ())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**inherited, **added, "KUBERNETES_EXEC_INFO": _info(plugin, kubeconfig)},
            start_new_session=True,  # so that what it has started is killed with it
        )
    except OSError as error:
        raise ConfigException(f"it cannot be started: {error}") from None
    try:
        output, errors = process.communicate(timeout=PLUGIN_SECONDS)
    except subprocess.TimeoutExpired:
        _kill(process)
        raise ConfigException(f"it hung, and was killed after {PLUGIN_SECONDS:g} s") from None
    if process.returncode:
        said = evidence_tail(errors.decode(errors="replace"), 5, 500)
        raise ConfigException(f"it ended with {process.returncode}" + (f" ({said})" if said else ""))
    return output


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):  # a process that has left the session may hold the pipes
        process.communicate(timeout=1.0)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _info(plugin: Mapping[str, Any], kubeconfig: Kubeconfig) -> str:
    """The value of KUBERNETES_EXEC_INFO."""
    spec: dict[str, Any] = {"interactive": False}
    if plugin.get("provideClusterInfo"):
        cluster = kubeconfig.cluster
        spec["cluster"] = {name: cluster[name] for name in _CLUSTER if name in cluster}
        if "certificate-authority" in cluster and "certificate-authority-data" not in cluster:
            spec["cluster"]["certificate-authority-data"] = _base64(Path(cluster["certificate-authority"]).read_bytes())
        for extension in cluster.get("extensions", ()):
            if isinstance(extension, dict) and extension.get("name") == _EXTENSION:
                spec["cluster"]["config"] = extension.get("extension")
    return msgspec.json.encode({"apiVersion": plugin["apiVersion"], "kind": _KIND, "spec": spec}).decode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
