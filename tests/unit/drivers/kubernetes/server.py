"""A double of the API server: one namespace's objects in a dictionary, changed by the patches that the driver sends."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from runner.drivers.kubernetes.api import ApiServerResponse
from runner.drivers.kubernetes.manifest import SET_ASIDE
from runner.runtime.clock import Deadline


class Server:
    """`before` is called once before the next write: what somebody else does in between."""

    clock_ahead = 0.0

    def __init__(self, *jobs: dict[str, Any], pods: tuple[Any, ...] = (), events: dict[str, Any] | None = None) -> None:
        self.jobs = {each["metadata"]["name"]: each for each in jobs}
        self.pods = list(pods)
        self.events = events or {}
        self.asked: list[str] = []
        self.accepted: list[str] = []
        self.before: Callable[[], None] | None = None

    def call(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        body: Any = None,
        query: dict[str, str] | None = None,
        media: str = "",
        accept: str = "",
    ) -> ApiServerResponse:
        self.accepted.append(accept)
        self.asked.append(f"{method} {path.partition('/namespaces/')[2]}")
        kind, *names = path.partition("/namespaces/")[2].split("/")[1:]
        if method == "GET" and not names:
            items = self._listed(kind, query or {})
            return _answer(200, {"items": items or (None if "MetadataList" in accept else [])})
        if method != "GET" and self.before:
            before, self.before = self.before, None
            before()
        if method == "POST":
            return self._create(body)
        known = self.jobs.get(names[0])
        if known is None:
            return _answer(404, {"message": "not found"})
        if method == "PATCH":
            return self._patched(names[0], known, body, media)
        return _answer(200, known)

    def touch(self, name: str) -> None:
        """A write by another, like the Job controller: it changes the resourceVersion."""
        metadata = self.jobs[name]["metadata"]
        metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)

    def _listed(self, kind: str, query: dict[str, str]) -> list[Any]:
        if kind == "events":
            found: list[Any] = self.events.get(query["fieldSelector"].removeprefix("involvedObject.uid="), [])
            return found
        if kind != "jobs":
            return self.pods
        selector = query.get("labelSelector", "")
        claim = selector.partition("orchestrator/claim=")[2]
        jobs = [
            each
            for each in self.jobs.values()
            if not selector.endswith(SET_ASIDE) or SET_ASIDE in each["metadata"]["labels"]
        ]
        return [each for each in jobs if not claim or each["metadata"]["labels"].get("orchestrator/claim") == claim]

    def _create(self, manifest: dict[str, Any]) -> ApiServerResponse:
        name = manifest["metadata"]["name"]
        if name in self.jobs:
            return _answer(409, {"reason": "AlreadyExists"})
        self.jobs[name] = json.loads(json.dumps(manifest))
        self.jobs[name]["metadata"] |= {"uid": "uid-new", "resourceVersion": "1"}
        return _answer(201, self.jobs[name])

    def _patched(self, name: str, known: dict[str, Any], body: Any, media: str) -> ApiServerResponse:
        changed = json.loads(json.dumps(known))
        if "json-patch" in media:
            if not all(_applied(changed, each) for each in body):
                return _answer(422, {"message": "the server rejected our request due to an error in our request"})
        else:
            if (
                body["metadata"].get("resourceVersion", known["metadata"]["resourceVersion"])
                != (known["metadata"]["resourceVersion"])
            ):
                return _answer(409, {"reason": "Conflict"})
            _merge(changed, body)
        self.jobs[name] = changed
        self.touch(name)
        return _answer(200, self.jobs[name])


def _answer(status: int, body: Any) -> ApiServerResponse:
    return ApiServerResponse(status, json.dumps(body).encode())


def _applied(document: dict[str, Any], operation: dict[str, Any]) -> bool:
    """RFC 6902, `test` and `add` alone. A missing member is equal to null, as in the API server's library."""
    *parents, last = (
        part.replace("~1", "/").replace("~0", "~") for part in operation["path"].removeprefix("/").split("/")
    )
    for part in parents:
        document = document[part]
    if operation["op"] == "test":
        return bool(document.get(last) == operation["value"])
    assert operation["op"] == "add"
    document[last] = operation["value"]
    return True


def _merge(document: dict[str, Any], patch: dict[str, Any]) -> None:
    """RFC 7396."""
    for name, value in patch.items():
        if value is None:
            document.pop(name, None)
        elif isinstance(value, dict):
            _merge(document.setdefault(name, {}), value)
        else:
            document[name] = value
