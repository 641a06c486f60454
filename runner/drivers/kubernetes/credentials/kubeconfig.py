"""A kubeconfig as kubectl reads it: which cluster and user a context means, with absolute paths and the token.

The official client's merger finds and merges the files, and its loader gets the result. Its own reading differs from
kubectl's in what is settled here: which file's current context counts, null and empty values, where paths start, which
of two tokens counts, which combinations are refused, and a context whose user does not exist.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from kubernetes.config import ConfigException
from msgspec import Meta

from runner.config.addresses import is_url
from runner.drivers.kubernetes.credentials.merging import TYPES, current_context, entry, merged
from runner.security import pem_files
from runner.security.keys import are_pair

PLUGIN_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_PROXIES = ("http", "https", "socks5")
_DATA = (("certificate-authority", "cluster"), ("client-certificate", "user"), ("client-key", "user"))
_WORDS: dict[type, str] = {str: "text", list: "a list", dict: "a mapping", bool: "true or false"}
_HEADER_NAME = "!#$&'*+-.^_`|~"
"""What may stand in a header's name besides letters and digits, but `%` (RFC 9110, 5.6.2)."""


_Argument = Annotated[str, Meta(pattern=r"\A[^\x00]*\Z")]


class _Variable(msgspec.Struct):
    name: Annotated[str, Meta(pattern=r"\A[^=\x00]+\Z")]
    value: _Argument | None = None


class _Plugin(msgspec.Struct):
    """What is run of an `exec`, to check its types."""

    command: _Argument = ""
    args: list[_Argument] = []
    env: list[_Variable] = []


class Kubeconfig(msgspec.Struct, frozen=True):
    """One cluster and one user of the merged files, without null and empty values. All paths are absolute."""

    context: str
    user_name: str
    cluster: Mapping[str, Any]
    user: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Kubeconfig({self.context}, user={self.user_name}, {self.cluster.get('server')})"

    def document(self, login: Mapping[str, str]) -> dict[str, Any]:
        """A kubeconfig of this context alone, for the official client. `login` replaces the user's token or plugin."""
        user = {name: value for name, value in self.user.items() if name not in ("token", "tokenFile", "exec")}
        if "username" in user:
            user.setdefault("password", "")
        return {
            "clusters": [{"name": "cluster", "cluster": dict(self.cluster)}],
            "users": [{"name": "user", "user": {**user, **login}}],
            "contexts": [{"name": self.context, "context": {"cluster": "cluster", "user": "user"}}],
            "current-context": self.context,
        }

    @property
    def plugin(self) -> Mapping[str, Any] | None:
        """The credential plugin, unless a token or a password makes it unnecessary."""
        return None if {"token", "tokenFile", "username"} & set(self.user) else self.user.get("exec")

    def token(self) -> str:
        """The bearer token; empty if there is none. That of the file counts, and the other if the file has none.

        Raises OSError if there is no other.
        """
        inline = str(self.user.get("token", ""))
        if "tokenFile" not in self.user:
            return inline.strip()
        try:
            found = Path(self.user["tokenFile"]).read_text(encoding="utf-8").strip()
        except OSError:
            if not inline:
                raise
            found = ""
        if not found and not inline:
            raise ConfigException(f"the token file {self.user['tokenFile']} is empty")
        return found or inline.strip()

    def impersonation(self) -> tuple[str, ...]:
        """The headers of `as`, `as-uid`, `as-groups` and `as-user-extra` (Kubernetes, "User impersonation")."""
        extra = self.user.get("as-user-extra", {})
        if not all(isinstance(key, str) and isinstance(values, list) for key, values in extra.items()):
            raise ConfigException("as-user-extra must have a list of values for each key")
        headers = [
            *((header, self.user[name]) for name, header in (("as", "User"), ("as-uid", "Uid")) if name in self.user),
            *(("Group", group) for group in self.user.get("as-groups", ())),
            *((f"Extra-{quote(key, safe=_HEADER_NAME)}", value) for key, values in extra.items() for value in values),
        ]
        for name, value in headers:
            if not (isinstance(value, str) and value.isascii() and value.isprintable()):
                raise ConfigException(f"the value of Impersonate-{name} must be printable ASCII text")
        return tuple(f"Impersonate-{name}: {value}" for name, value in headers)


def read(path: str, context: str, environ: Mapping[str, str]) -> Kubeconfig:
    """The context (the current one where empty) of the file at `path`, else of those that $KUBECONFIG lists.

    Raises ConfigException or OSError with the reason if kubectl would not use it, and what PyYAML raises for a file
    that is no YAML. Runs no plugin and reads no token.
    """
    merger = merged(path or environ.get("KUBECONFIG") or "~/.kube/config")
    if merger.config is None:
        raise ConfigException(f"there is no kubeconfig at {path or environ.get('KUBECONFIG') or '~/.kube/config'}")
    context = context or current_context(merger)
    chosen, _ = entry(merger, "context", context, "kubernetes.context or current-context")
    cluster, at = entry(merger, "cluster", chosen.get("cluster", ""), f"the context {context}")
    cluster = _absolute(cluster, at, ("certificate-authority",))
    user_name = chosen.get("user", "")
    user, at = entry(merger, "user", user_name, f"the context {context}") if user_name else ({}, "")
    user = _absolute(user, at, ("client-certificate", "client-key", "tokenFile"))
    found = Kubeconfig(context, user_name, cluster, _with_plugin(user, at))
    if problem := next(_problems(found), ""):
        raise ConfigException(problem)
    found.impersonation()
    return found


def _with_plugin(user: dict[str, Any], directory: str) -> dict[str, Any]:
    """A plugin's command starts at the kubeconfig's directory if it has a slash; else it is on PATH."""
    plugin = user.get("exec")
    if not isinstance(plugin, dict) or os.sep not in str(plugin.get("command", "")):
        return user
    return {**user, "exec": {**plugin, "command": os.path.join(directory, plugin["command"])}}


def _absolute(content: dict[str, Any], directory: str, names: tuple[str, ...]) -> dict[str, Any]:
    paths = {name: os.path.join(directory, content[name]) for name in names if name in content}
    return {**content, **paths}


def _problems(kubeconfig: Kubeconfig) -> Iterator[str]:
    """What kubectl refuses, and what no request can be sent with."""
    cluster, user = kubeconfig.cluster, kubeconfig.user
    yield from _text_problems(kubeconfig)
    yield from _address_problems(kubeconfig)
    if cluster.get("insecure-skip-tls-verify") and any(name.startswith("certificate-authority") for name in cluster):
        yield "certificate-authority and insecure-skip-tls-verify exclude each other; remove one"
    yield from _file_problems(kubeconfig)
    who = f"the kubeconfig's user {kubeconfig.user_name}"
    for one, other in (("client-certificate", "client-key"), ("client-key", "client-certificate")):
        if {one, f"{one}-data"} & set(user) and not {other, f"{other}-data"} & set(user):
            yield f"{who} has a {one.replace('client-c', 'client c')} without {other}"
    if {"token", "tokenFile"} & set(user) and "username" in user:
        yield f"{who} has both a token and a password; remove one"
    if {"as-uid", "as-groups", "as-user-extra"} & set(user) and "as" not in user:
        yield f"{who} has as-uid, as-groups or as-user-extra without `as`; name the user to impersonate"
    if "auth-provider" in user and user["auth-provider"].get("name") != "oidc":
        yield f"{who} has an auth-provider that kubectl does not have; only oidc is left, or a credential plugin (exec)"
    if kubeconfig.plugin is not None:
        yield from _plugin_problems(kubeconfig.plugin, who)
    yield from _pem_problems(kubeconfig)


def _address_problems(kubeconfig: Kubeconfig) -> Iterator[str]:
    """None of these is quoted: a URL may have a password."""
    cluster = kubeconfig.cluster
    server = cluster.get("server", "")
    if not is_url(server, ("https", "http")) or set("@?#") & set(server):
        yield f"the cluster of the context {kubeconfig.context} has no server, an https or http URL without a login"
    if "proxy-url" in cluster and not is_url(cluster["proxy-url"], _PROXIES):
        yield f"proxy-url must be a URL of one of: {', '.join(_PROXIES)}"
    if not re.fullmatch(r"[A-Za-z0-9_.:-]*", cluster.get("tls-server-name", "")):
        yield "tls-server-name must be the name of a host"


def _text_problems(kubeconfig: Kubeconfig) -> Iterator[str]:
    for name, value in (*kubeconfig.cluster.items(), *kubeconfig.user.items()):
        if name in TYPES and not isinstance(value, TYPES[name]):
            yield f"{name} must be {_WORDS[TYPES[name]]}"


def _file_problems(kubeconfig: Kubeconfig) -> Iterator[str]:
    for name, part in _DATA:
        section = getattr(kubeconfig, part)
        if data := section.get(f"{name}-data"):
            try:
                base64.b64decode("".join(data.split()), validate=True)
            except ValueError:
                yield f"{name}-data is not base64"
        elif name in section and (problem := pem_files.unreadable(section[name])):
            yield f"{name} {problem}"
    path = kubeconfig.user.get("tokenFile")
    if path and "token" not in kubeconfig.user and (problem := pem_files.unreadable(path)):
        yield f"tokenFile {problem}"


def _pem_problems(kubeconfig: Kubeconfig) -> Iterator[str]:
    """Certificates and keys that are none. The data counts where there is a file as well."""
    texts = {}
    for name, part in _DATA:
        section = getattr(kubeconfig, part)
        if data := section.get(f"{name}-data"):
            text = base64.b64decode(data).decode("latin-1")
        elif name in section:
            text = Path(section[name]).read_text("latin-1")
        else:
            continue
        texts[name] = text
        if name.endswith("key") and not pem_files.is_private_key(text):
            yield f"{name} is no private key in PEM without a password"
        if not name.endswith("key") and not pem_files.are_certificates(text):
            yield f"{name} is no certificate in PEM"
    pair = texts.get("client-certificate"), texts.get("client-key")
    if pair[0] and pair[1] and not are_pair(pair[0], pair[1]):
        yield "client-key does not belong to client-certificate; give the key that the certificate was made with"


def _plugin_problems(plugin: Mapping[str, Any], who: str) -> Iterator[str]:
    version, mode = plugin.get("apiVersion"), plugin.get("interactiveMode")
    try:
        msgspec.convert(plugin, _Plugin)
    except msgspec.ValidationError as error:
        yield f"the credential plugin of {who} cannot be run: {error}"
        return
    if version not in PLUGIN_VERSIONS:
        yield f"the credential plugin of {who} has apiVersion {version}; taken are {', '.join(PLUGIN_VERSIONS)}"
    if mode is None and version == PLUGIN_VERSIONS[0]:
        yield f"the credential plugin of {who} has no interactiveMode; set it to Never or IfAvailable"
    if mode not in (None, "Never", "IfAvailable"):
        yield f"the credential plugin of {who} has interactiveMode {mode}, but no terminal; Never or IfAvailable works"
    if not shutil.which(command := plugin.get("command", "")):
        yield f"the credential plugin of {who} is not an executable file on this host: {command or 'no command'}"
