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
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import msgspec
from kubernetes.config import ConfigException
from kubernetes.config.kube_config import KubeConfigMerger
from msgspec import Meta

PLUGIN_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_PROXIES = ("http", "https", "socks5")
_DATA = (("certificate-authority", "cluster"), ("client-certificate", "user"), ("client-key", "user"))
_TYPES: dict[str, type] = {
    "as-groups": list, "as-user-extra": dict, "exec": dict, "auth-provider": dict, "extensions": list,
    "insecure-skip-tls-verify": bool,
    **dict.fromkeys(("server", "tls-server-name", "proxy-url"), str),
    **dict.fromkeys(("certificate-authority", "certificate-authority-data"), str),
    **dict.fromkeys(("client-certificate", "client-certificate-data", "client-key", "client-key-data"), str),
    **dict.fromkeys(("token", "tokenFile", "username", "password", "as", "as-uid"), str),
}  # fmt: skip
"""The type of each key that is read."""
_EMPTY: tuple[Any, ...] = (None, "", [], {})
_NAMES = ("cluster", "user")
"""The keys of a context that are read."""
_WORDS: dict[type, str] = {str: "text", list: "a list", dict: "a mapping", bool: "true or false"}
_HEADER_NAME = "!#$&'*+-.^_`|~"
"""What may stand in a header's name besides letters and digits, but `%` (RFC 9110, 5.6.2)."""


_Argument = Annotated[str, Meta(pattern=r"\A[^\x00]*\Z")]


class _Variable(msgspec.Struct):
    name: Annotated[str, Meta(pattern=r"\A[^=\x00]+\Z")]
    value: _Argument = ""


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
    merger = _merged(path or environ.get("KUBECONFIG") or "~/.kube/config")
    if merger.config is None:
        raise ConfigException(f"there is no kubeconfig at {path or environ.get('KUBECONFIG') or '~/.kube/config'}")
    context = context or _current_context(merger)
    chosen, _ = _entry(merger, "context", context, "kubernetes.context or current-context")
    cluster, at = _entry(merger, "cluster", chosen.get("cluster", ""), f"the context {context}")
    cluster = _absolute(cluster, at, ("certificate-authority",))
    user_name = chosen.get("user", "")
    user, at = _entry(merger, "user", user_name, f"the context {context}") if user_name else ({}, "")
    user = _absolute(user, at, ("client-certificate", "client-key", "tokenFile"))
    found = Kubeconfig(context, user_name, cluster, _with_plugin(user, at))
    if problem := next(_problems(found), ""):
        raise ConfigException(problem)
    found.impersonation()
    return found


def _merged(paths: str) -> KubeConfigMerger:
    """The files, merged. What the merger fails on with an error of Python's is refused in words."""
    try:
        merger = KubeConfigMerger(paths)
        for path, document in merger.config_files.items():
            for section in ("clusters", "users", "contexts"):
                _require_distinct(path, section, [entry["name"] for entry in document.get(section) or ()])
    except (TypeError, AttributeError, KeyError, RecursionError):
        raise ConfigException(f"{paths} is no kubeconfig: it must be a mapping with lists of named entries") from None
    return merger


def _require_distinct(path: str, section: str, names: list[Any]) -> None:
    """As kubectl does. The merger would take the first of two."""
    twice = [name for name, times in Counter(map(str, names)).items() if times > 1]
    if twice:
        raise ConfigException(f"{path} has two {section} named {twice[0]!r}; remove one")


def _with_plugin(user: dict[str, Any], directory: str) -> dict[str, Any]:
    """A plugin's command starts at the kubeconfig's directory if it has a slash; else it is on PATH."""
    plugin = user.get("exec")
    if not isinstance(plugin, dict) or os.sep not in str(plugin.get("command", "")):
        return user
    return {**user, "exec": {**plugin, "command": os.path.join(directory, plugin["command"])}}


def _current_context(merger: KubeConfigMerger) -> str:
    """That of the first file that has one."""
    named = (document.get("current-context") for document in merger.config_files.values())
    if not (context := next(filter(None, named), "")):
        raise ConfigException("the kubeconfig has no current-context; set it, or kubernetes.context")
    return str(context)


def _entry(merger: KubeConfigMerger, kind: str, name: str, wanted_by: str) -> tuple[dict[str, Any], str]:
    """The entry of that name, without null and empty values, and the directory of its file."""
    for entry in merger.config.value[f"{kind}s"]:
        if entry.value["name"] == name:
            content = entry.value.get(kind) or {}
            if not isinstance(content, dict):
                break
            read = {key: content[key] for key in (*_TYPES, *_NAMES) if key in content}
            return _without_empty(read), os.path.dirname(os.path.abspath(entry.path))
    raise ConfigException(f"the kubeconfig has no {kind} {name!r}, which {wanted_by} names")


def _without_empty(value: dict[str, Any]) -> dict[str, Any]:
    """Without null and empty values, also those of its mappings."""
    return {
        name: {key: inner for key, inner in each.items() if inner not in _EMPTY} if isinstance(each, dict) else each
        for name, each in value.items()
        if each not in _EMPTY
    }


def _absolute(entry: dict[str, Any], directory: str, names: tuple[str, ...]) -> dict[str, Any]:
    paths = {name: os.path.join(directory, entry[name]) for name in names if name in entry}
    return {**entry, **paths}


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
    if user.get("auth-provider", {}).get("name") in ("gcp", "azure"):
        yield f"{who} has an auth-provider that Kubernetes has removed; use the cloud's credential plugin (exec)"
    if kubeconfig.plugin is not None:
        yield from _plugin_problems(kubeconfig.plugin, who)


def _address_problems(kubeconfig: Kubeconfig) -> Iterator[str]:
    """None of these is quoted: a URL may have a password."""
    cluster = kubeconfig.cluster
    server = cluster.get("server", "")
    if not _is_url(server, ("https", "http")) or set("@?#") & set(server):
        yield f"the cluster of the context {kubeconfig.context} has no server, an https or http URL without a login"
    if "proxy-url" in cluster and not _is_url(cluster["proxy-url"], _PROXIES):
        yield f"proxy-url must be a URL of one of: {', '.join(_PROXIES)}"
    if not re.fullmatch(r"[A-Za-z0-9_.:-]*", cluster.get("tls-server-name", "")):
        yield "tls-server-name must be the name of a host"


def _is_url(url: str, schemes: tuple[str, ...]) -> bool:
    """Whether it is a URL of one of these schemes, with a host and a valid port. `url` may have a password."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in schemes and bool(parts.hostname) and (parts.port or 1) > 0
        return valid and url.isprintable() and " " not in url
    except ValueError:
        return False


def _text_problems(kubeconfig: Kubeconfig) -> Iterator[str]:
    for name, value in (*kubeconfig.cluster.items(), *kubeconfig.user.items()):
        if name in _TYPES and not isinstance(value, _TYPES[name]):
            yield f"{name} must be {_WORDS[_TYPES[name]]}"


def _file_problems(kubeconfig: Kubeconfig) -> Iterator[str]:
    for name, part in _DATA:
        section = getattr(kubeconfig, part)
        if data := section.get(f"{name}-data"):
            try:
                base64.b64decode("".join(data.split()), validate=True)
            except ValueError:
                yield f"{name}-data is not base64"
        elif name in section and not os.access(section[name], os.R_OK):
            yield f"{name} names a file that cannot be read: {section[name]}"
    path = kubeconfig.user.get("tokenFile")
    if path and "token" not in kubeconfig.user and not (os.path.isfile(path) and os.access(path, os.R_OK)):
        yield f"tokenFile names a file that cannot be read: {path}"


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
