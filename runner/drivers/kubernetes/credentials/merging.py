"""The files of a kubeconfig, merged by the official client's merger, and the entries of the result.

What the merger would not end with, or fails on with an error of Python's, is refused in words.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import yaml
from kubernetes.config import ConfigException
from kubernetes.config.kube_config import KubeConfigMerger

from runner.config import aliases

TYPES: dict[str, type] = {
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


def merged(paths: str) -> KubeConfigMerger:
    """The files, merged. What the merger fails on with an error of Python's is refused in words."""
    try:
        for path in filter(os.path.exists, map(os.path.expanduser, filter(None, paths.split(os.pathsep)))):
            _require_small(path)
        merger = KubeConfigMerger(paths)
        for path, document in merger.config_files.items():
            _require_kind(path, document)
            for section in ("clusters", "users", "contexts"):
                _require_distinct(path, section, [each["name"] for each in document.get(section) or ()])
    except (TypeError, AttributeError, KeyError, RecursionError):
        raise ConfigException(f"{paths} is no kubeconfig: it must be a mapping with lists of named entries") from None
    return merger


def _require_small(path: str) -> None:
    """The merger writes out every entry, with what its aliases stand for."""
    if not os.path.isfile(path):
        raise ConfigException(f"{path} is no regular file")
    with open(path, "rb") as file:
        if b"&" not in file.read():
            return
        file.seek(0)
        document = yaml.compose(file, yaml.SafeLoader)
    if document is not None and (problem := aliases.problem(document)):
        raise ConfigException(f"{path} is refused: {problem}")


def _require_kind(path: str, document: dict[str, Any]) -> None:
    """kubectl reads no other kind. Both may be missing."""
    version, kind = document.get("apiVersion") or "v1", document.get("kind") or "Config"
    if (version, kind) != ("v1", "Config"):
        raise ConfigException(f"{path} is no kubeconfig: it is of the kind {kind!r} and apiVersion {version!r}")


def _require_distinct(path: str, section: str, names: list[Any]) -> None:
    """As kubectl does. The merger would take the first of two."""
    twice = [name for name, times in Counter(map(str, names)).items() if times > 1]
    if twice:
        raise ConfigException(f"{path} has two {section} named {twice[0]!r}; remove one")


def current_context(merger: KubeConfigMerger) -> str:
    """That of the first file that has one."""
    named = (document.get("current-context") for document in merger.config_files.values())
    if not (context := next(filter(None, named), "")):
        raise ConfigException("the kubeconfig has no current-context; set it, or kubernetes.context")
    return str(context)


def entry(merger: KubeConfigMerger, kind: str, name: str, wanted_by: str) -> tuple[dict[str, Any], str]:
    """The entry of that name, without null and empty values, and the directory of its file."""
    for each in merger.config.value[f"{kind}s"]:
        if each.value["name"] == name:
            content = each.value.get(kind) or {}
            if not isinstance(content, dict):
                break
            read = {key: content[key] for key in (*TYPES, *_NAMES) if key in content}
            return _without_empty(read), os.path.dirname(os.path.abspath(each.path))
    raise ConfigException(f"the kubeconfig has no {kind} {name!r}, which {wanted_by} names")


def _without_empty(value: dict[str, Any]) -> dict[str, Any]:
    """Without null and empty values, also those of its mappings."""
    return {
        name: {key: inner for key, inner in each.items() if inner not in _EMPTY} if isinstance(each, dict) else each
        for name, each in value.items()
        if each not in _EMPTY
    }
