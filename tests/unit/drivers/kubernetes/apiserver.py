"""A scripted API server over real connections: what it lists, and what each of its watches sends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from runner.config.drivers import KubernetesSection
from runner.drivers.http.curl import CurlHttpClient
from runner.drivers.kubernetes.api import ApiServerClient
from runner.drivers.kubernetes.manifest import FINGERPRINT
from runner.observation import Observation
from runner.runtime.clock import SystemClock
from tests.harness.scripted_server import Conversation, scripted_server

Object = dict[str, Any]
Session = Callable[[Conversation], None]

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def job(name: str, version: int, *, uid: str = "", failed: str = "") -> Object:
    """A Job. `failed` is the reason of its failure."""
    conditions = [{"type": "Failed", "status": "True", "reason": failed}] if failed else []
    return {
        "metadata": {
            "name": name,
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(version),
            "annotations": {FINGERPRINT: "f"},
            "managedFields": [{"fieldsV1": {"f:spec": {}}}],
        },
        "spec": {"template": {"spec": {"containers": [{"name": "marvin"}]}}},
        "status": {"conditions": conditions},
    }


def pod(of: str, version: int, *, name: str = "", uid: str = "", exited: int | None = None, second: int = 0) -> Object:
    """A pod of the job `of`, whose Job has the uid `uid`. `second` is when it was created."""
    ended = {"exitCode": exited, "finishedAt": "2026-11-27T10:00:59Z"}
    state = {"running": {}} if exited is None else {"terminated": ended}
    phase = "Running" if exited is None else "Failed" if exited else "Succeeded"
    labels = {"batch.kubernetes.io/job-name": of, "batch.kubernetes.io/controller-uid": uid or f"uid-{of}"}
    return {
        "metadata": {
            "name": name or of,
            "uid": f"pod-{name or of}",
            "resourceVersion": str(version),
            "creationTimestamp": f"2026-11-27T10:00:{second:02}Z",
            "labels": labels,
        },
        "status": {"phase": phase, "containerStatuses": [{"name": "marvin", "state": state}]},
    }


def event(kind: str, changed: Object) -> bytes:
    return json.dumps({"type": kind, "object": changed}).encode() + b"\n"


def bookmark(version: int) -> bytes:
    """As a real one: the rest of the object is empty or null."""
    metadata = {"resourceVersion": str(version), "creationTimestamp": None}
    spec = {"template": {"metadata": {"creationTimestamp": None}, "spec": {"containers": None}}}
    return event("BOOKMARK", {"kind": "Job", "metadata": metadata, "spec": spec, "status": {}})


def error(code: int, message: str = "too old resource version") -> bytes:
    return event("ERROR", {"kind": "Status", "metadata": {}, "status": "Failure", "code": code, "message": message})


def sends(*lines: bytes, end: bool = True) -> Session:
    """A watch that sends these lines at once; then its end, or the connection's."""

    def session(conversation: Conversation) -> None:
        conversation.send(HEAD)
        for line in lines:
            conversation.send(b"%x\r\n%b\r\n" % (len(line), line))
        if end:
            conversation.send(END)

    return session


def refuses(status: int, message: str = "no") -> Session:
    return lambda conversation: conversation.answer(status, json.dumps({"message": message, "code": status}).encode())


def is_silent(conversation: Conversation) -> None:
    conversation.send(HEAD)
    conversation.wait(20)


class ApiServer:
    """Lists `jobs` and `pods` as of `version`, in pages. Each watch takes its next script; without one it ends."""

    def __init__(self) -> None:
        self.objects: dict[str, list[Object]] = {"jobs": [], "pods": []}
        self.version = 100
        self.page = 500
        self.refusals: dict[str, list[Session]] = {"jobs": [], "pods": []}
        self.watches: dict[str, list[Session]] = {"jobs": [], "pods": []}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        """`list` or `watch`, the kind, and the query."""

    def lists(self, *, jobs: Iterable[Object] = (), pods: Iterable[Object] = (), version: int = 100) -> None:
        self.objects = {"jobs": list(jobs), "pods": list(pods)}
        self.version = version

    def did(self, what: str, kind: str) -> int:
        return sum((each, of) == (what, kind) for each, of, _ in self.asked)

    def versions(self, kind: str) -> list[str]:
        """From which versions it was watched."""
        return [query["resourceVersion"] for what, of, query in self.asked if (what, of) == ("watch", kind)]

    def serve(self, conversation: Conversation) -> None:
        while True:
            request = conversation.receive()
            kind = urlsplit(request.path).path.rpartition("/")[2]
            query = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
            what = "watch" if "watch" in query else "list"
            self.asked.append((what, kind, query))
            if what == "watch":
                script = self.watches[kind].pop(0) if self.watches[kind] else sends()
                script(conversation)
                return  # the connection ends where the script does
            if self.refusals[kind]:
                self.refusals[kind].pop(0)(conversation)
            else:
                self._list(conversation, kind, int(query.get("continue", 0)))

    def _list(self, conversation: Conversation, kind: str, start: int) -> None:
        end = start + self.page
        metadata = {"resourceVersion": str(self.version)}
        if end < len(self.objects[kind]):
            metadata["continue"] = str(end)
        body = {"kind": "List", "metadata": metadata, "items": self.objects[kind][start:end]}
        conversation.answer(200, json.dumps(body).encode())


@contextmanager
def api_server(directory: Path) -> Iterator[tuple[ApiServer, ApiServerClient]]:
    """A server, and a client with a token for it."""
    made = ApiServer()
    with scripted_server(made.serve) as server:
        yield made, client_of(server.url, directory)


def client_of(url: str, directory: Path) -> ApiServerClient:
    document = {
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (directory / "kubeconfig").write_text(yaml.safe_dump(document))
    clock = SystemClock()
    settings = KubernetesSection(kubeconfig=str(directory / "kubeconfig"))
    return ApiServerClient(settings, http=CurlHttpClient(clock), clock=clock)


class RecordingView:
    """A View that keeps every call: its name, and what it was about as `name`, or `name=exit code`."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.jobs: dict[str, Observation] = {}

    def replace(self, place: str, listed: Iterable[Observation]) -> None:
        self.jobs = {each.name: each for each in listed}
        self.calls.append(("replace", place, *map(_shown, self.jobs.values())))

    def update(self, seen: Observation) -> None:
        self.jobs[seen.name] = seen
        self.calls.append(("update", _shown(seen)))

    def left(self, seen: Observation) -> None:
        self.jobs.pop(seen.name, None)
        self.calls.append(("left", _shown(seen)))

    def alive(self) -> None:
        self.calls.append(("alive",))

    def taken(self) -> list[tuple[str, ...]]:
        """The calls since the last time."""
        calls, self.calls = self.calls, []
        return calls


def _shown(seen: Observation) -> str:
    return seen.name if seen.main_exit is None else f"{seen.name}={seen.main_exit}"
