"""The objects of a simulated API server, with every version of each. Objects are never changed in place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Object = dict[str, Any]
Key = tuple[str, str, str]
"""Kind (the plural), namespace, name."""

_TERM = re.compile(
    r"\s*(?:(?P<absent>!)\s*)?(?P<key>[\w./-]+)\s*(?:(?P<word>notin|in)\s*\((?P<set>[^)]*)\)|"
    r"(?P<sign>==|=|!=)\s*(?P<value>[\w./-]*))?\s*(?:,|$)"
)


class Change(NamedTuple):
    """One write: `old` is None for a create, `new` is None for a delete."""

    version: int
    key: Key
    old: Object | None
    new: Object | None


class Store:
    """Every object by its key, and the log of all writes."""

    def __init__(self) -> None:
        self.version = 100
        self.compacted = 100
        """Versions before this one cannot be read any more."""
        self.objects: dict[Key, Object] = {}
        self.changes: list[Change] = []
        self.listeners: list[Callable[[Change], None]] = []

    def get(self, key: Key) -> Object | None:
        return self.objects.get(key)

    def put(self, key: Key, new: Object) -> Object:
        """Write an object under its next version."""
        self.version += 1
        stored = {**new, "metadata": {**new["metadata"], "resourceVersion": str(self.version)}}
        old = self.objects.get(key)
        self.objects[key] = stored
        self._record(Change(self.version, key, old, stored))
        return stored

    def remove(self, key: Key) -> None:
        if (old := self.objects.pop(key, None)) is not None:
            self.version += 1
            self._record(Change(self.version, key, old, None))

    def _record(self, change: Change) -> None:
        self.changes.append(change)
        for listener in tuple(self.listeners):
            listener(change)

    def collection(self, kind: str, namespace: str, version: int | None = None) -> list[Object]:
        """The objects of a kind in a namespace, by name; at an older version if one is given."""
        found = {key: value for key, value in self.objects.items() if key[:2] == (kind, namespace)}
        for change in reversed(self.changes if version is not None else ()):
            if change.version <= (version or 0):
                break
            if change.key[:2] == (kind, namespace):
                if change.old is None:
                    found.pop(change.key, None)
                else:
                    found[change.key] = change.old
        return [found[key] for key in sorted(found)]

    def since(self, version: int, kind: str, namespace: str) -> Iterator[Change]:
        """The writes after a version."""
        return (each for each in self.changes if each.version > version and each.key[:2] == (kind, namespace))


def selector(text: str) -> Callable[[Object], bool]:
    """A label selector: `a=b`, `a!=b`, `a`, `!a`, `a in (b,c)`, `a notin (b)`. Raises ValueError."""
    requirements: list[Callable[[dict[str, str]], bool]] = []
    at = 0
    while at < len(text):
        match = _TERM.match(text, at)
        if match is None or match.end() == at:
            raise ValueError(f"unable to parse requirement: {text[at:]!r}")
        requirements.append(_term(match))
        at = match.end()
    return lambda item: all(holds(item["metadata"].get("labels") or {}) for holds in requirements)


def _term(match: re.Match[str]) -> Callable[[dict[str, str]], bool]:
    key, sign = match["key"], match["sign"]
    if match["absent"]:
        return lambda labels: key not in labels
    if match["word"]:
        values, wanted = {value.strip() for value in match["set"].split(",")}, match["word"] == "in"
        return lambda labels: (labels.get(key) in values) == wanted
    if sign:
        value, equal = match["value"], sign != "!="
        return lambda labels: (labels.get(key) == value) == equal
    return lambda labels: key in labels


def merged(target: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def patched(target: Any, operations: list[dict[str, Any]]) -> Any:
    """A JSON patch (RFC 6902): test, add, replace, remove in objects. Raises ValueError where it does not apply."""
    for operation in operations:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        target = _operated(target, parts, operation)
    return target


def _operated(target: Any, parts: list[str], operation: dict[str, Any]) -> Any:
    if not isinstance(target, dict):
        raise ValueError(f"the path {operation['path']} does not exist")
    name, *rest = parts
    if rest:
        if name not in target:
            raise ValueError(f"the path {operation['path']} does not exist")
        return {**target, name: _operated(target[name], rest, operation)}
    kind, value = operation["op"], operation.get("value")
    if kind == "test":
        if target.get(name) != value:  # a missing member equals null, in the library that Kubernetes uses
            raise ValueError(f"testing value {operation['path']} failed")
        return target
    if kind in ("replace", "remove") and name not in target:
        raise ValueError(f"{kind} {operation['path']}: missing")
    if kind == "remove":
        return {key: each for key, each in target.items() if key != name}
    return {**target, name: value}
