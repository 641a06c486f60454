"""A simulated Nomad agent, at the level of the bytes that are sent to it.

Real agents' behaviour is from tests on Nomad 1.11: EnforceIndex is checked before the write and not with it, a
Variable's check-and-set is atomic, a job is stopped without being removed, an event stream sends `{}` at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from runner.drivers.http.client import HttpResponse
from tests.simulation.nomad.state import Key, NomadState, Object
from tests.simulation.scheduler import EPOCH
from tests.simulation.seams.network import Later, Line, Network, Request

HEARTBEAT_SECONDS = 30.0

_CANCELLED = "orchestrator_cancelled"

_TERM = re.compile(
    r'"(?P<item>[^"]+)" (?P<no>not )?in (?P<map>\w+)|(?P<path>[\w.]+) (?P<sign>==|!=) "(?P<value>[^"]*)"'
)


class NomadRefused(Exception):
    """An error response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Agent:
    """Serves a state. `evaluate` is called when a job has changed."""

    def __init__(self, network: Network, state: NomadState, namespaces: tuple[str, ...]) -> None:
        self.network = network
        self.state = state
        self.evaluate: Callable[[Key], None] = lambda _key: None
        self.registered: Callable[[Key, Object], None] = lambda _key, _job: None
        self.cancelled: Callable[[Key], None] = lambda _key: None
        """Called when a cancel was written under a name without a job."""
        self._namespaces = namespaces
        self._specifications: dict[Key, Object] = {}

    def handle(self, request: Request) -> HttpResponse | Later:
        """See Server.handle."""
        parts = urlsplit(request.path)
        segments = [unquote(part) for part in parts.path.split("/")[2:]]
        query = dict(parse_qsl(parts.query))
        body = msgspec.json.decode(request.body) if request.body else None
        try:
            return self._route(request.method, segments, query, body)
        except NomadRefused as error:
            return HttpResponse(error.status, error.message.encode())

    def open(self, request: Request, line: Line) -> HttpResponse | None:
        """See Server.open: the event stream."""
        parts = urlsplit(request.path)
        if parts.path != "/v1/event/stream":
            return HttpResponse(404, b"no such stream")
        pairs = parse_qsl(parts.query)
        query = dict(pairs)
        topics = {value.partition(":")[0] for name, value in pairs if name == "topic"} or {"*"}
        EventStream(self, line, topics, query.get("namespace", "default"), int(query.get("index", 0))).begin()
        return None

    def _route(self, method: str, segments: list[str], query: Mapping[str, str], body: Any) -> HttpResponse | Later:
        kind, *rest = segments
        namespace = query.get("namespace", "default")
        if namespace not in self._namespaces:
            if method == "GET":
                return self._json([]) if kind in ("jobs", "vars") else HttpResponse(404, b"not found")
            raise NomadRefused(500, f'namespace "{namespace}" does not exist')
        if kind == "var":
            return self._variable(method, (namespace, rest[0]), query, body)
        if kind == "jobs" and method == "GET":
            return self._page(self._jobs(namespace, query), query)
        if kind == "jobs":
            return self._register(namespace, body)
        if kind == "vars":
            return self._page(self._variables(namespace, query.get("prefix", "")), query)
        if kind == "job":
            return self._job(method, (namespace, rest[0]), rest[1:], query)
        return self._other(kind, rest, query, namespace)

    def _other(self, kind: str, rest: list[str], query: Mapping[str, str], namespace: str) -> HttpResponse:
        state = self.state
        if kind == "allocations":
            found = [each for each in state.allocations.values() if each["Namespace"] == namespace]
            return self._page([each for each in found if matches(each, query.get("filter", ""))], query)
        if kind == "evaluations":
            return self._page([each for each in state.evaluations.values() if each["Namespace"] == namespace], query)
        if kind == "allocation":
            return self._one(state.allocations.get(rest[0]), "alloc not found")
        if kind == "client" and rest[:2] == ["fs", "logs"]:
            if rest[2] not in state.allocations:
                raise NomadRefused(404, "alloc not found")
            return HttpResponse(200, f"the log of {query.get('task', '')}\n".encode())
        if kind == "acl":
            return self._json({"AccessorID": "simulated"})
        raise NomadRefused(404, f"no handler for {kind}")

    def _variable(self, method: str, key: Key, query: Mapping[str, str], body: Any) -> HttpResponse:
        known = self.state.variables.get(key)
        if method == "GET":
            return self._one(known, "variable not found")
        if "cas" in query and int(query["cas"]) != (known["ModifyIndex"] if known else 0):
            conflict = known or {"Namespace": key[0], "Path": key[1], "CreateIndex": 0, "ModifyIndex": 0}
            return HttpResponse(409, msgspec.json.encode(conflict))
        if method == "DELETE":
            self.state.variables.pop(key, None)
            return HttpResponse(204, b"")
        job = (key[0], key[1].removeprefix("nomad/jobs/"))
        if _CANCELLED in body["Items"] and not (job in self.state.jobs or (known and _CANCELLED in known["Items"])):
            self.cancelled(job)
        return self._json(self.state.put_variable(key, body["Items"]))

    def _variables(self, namespace: str, prefix: str) -> list[Object]:
        found = (
            each
            for (space, path), each in sorted(self.state.variables.items())
            if space == namespace and path.startswith(prefix)
        )
        return [{name: value for name, value in each.items() if name != "Items"} for each in found]

    def _jobs(self, namespace: str, query: Mapping[str, str]) -> list[Object]:
        found = [each for (space, _), each in sorted(self.state.jobs.items()) if space == namespace]
        found = [each for each in found if each["ID"].startswith(query.get("prefix", ""))]
        return [self._stub(each) for each in found if matches(each, query.get("filter", ""))]

    def _stub(self, job: Object) -> Object:
        names = ("Running", "Starting", "Lost", "Unknown", "Complete", "Failed", "Queued")
        counts = dict.fromkeys(names, 0)
        for each in self.state.allocations_of((job["Namespace"], job["ID"])):
            status = {"pending": "Starting"}.get(each["ClientStatus"], each["ClientStatus"].capitalize())
            counts[status] += 1
        kept = (
            "ID",
            "Name",
            "Namespace",
            "Meta",
            "Status",
            "StatusDescription",
            "Stop",
            "SubmitTime",
            "CreateIndex",
            "ModifyIndex",
            "JobModifyIndex",
            "Version",
            "Priority",
            "Type",
        )
        summary = {"JobID": job["ID"], "Namespace": job["Namespace"], "Summary": {"job": counts}}
        return {**{name: job[name] for name in kept if name in job}, "JobSummary": summary}

    def _register(self, namespace: str, body: Object) -> Later:
        """EnforceIndex is checked now; the write follows, and is not part of the check."""
        key = (namespace, body["Job"]["ID"])
        known = self.state.jobs.get(key)
        if body.get("EnforceIndex"):
            index, found = body.get("JobModifyIndex", 0), known["JobModifyIndex"] if known else 0
            if index != found:
                what = f"job exists with conflicting job modify index: {found}" if known else "job does not exist"
                raise NomadRefused(500, f"Enforcing job modify index {index}: {what}")
        return Later(self.network.scheduler.random.random() * 0.02, lambda: self._write_job(key, body["Job"]))

    def _write_job(self, key: Key, job: Object) -> HttpResponse:
        known = self.state.jobs.get(key)
        same = known is not None and not known["Stop"] and self._specifications.get(key) == job
        version = known["Version"] + (not same) if known else 0
        new = {
            **job,
            "Status": "pending",
            "StatusDescription": "",
            "Stop": False,
            "Version": version,
            "SubmitTime": self.state.nanoseconds,
            "JobModifyIndex": self.state.index + 1,
        }
        stored = self.state.put_job(key, {**new, "Status": known["Status"]} if same and known else new)
        self._specifications[key] = job
        if not same:
            self.registered(key, stored)
        self.evaluate(key)
        return self._json({"JobModifyIndex": stored["JobModifyIndex"], "EvalID": "", "Index": self.state.index})

    def _job(self, method: str, key: Key, rest: list[str], query: Mapping[str, str]) -> HttpResponse:
        known = self.state.jobs.get(key)
        if known is None and method == "GET":
            raise NomadRefused(404, "job not found")
        if method == "GET" and not rest:
            return self._one(known, "job not found")
        if rest == ["allocations"]:
            return self._json(self.state.allocations_of(key))
        if rest == ["evaluations"]:
            found = self.state.evaluations.values()
            return self._json([each for each in found if (each["Namespace"], each["JobID"]) == key])
        if rest == ["summary"] and known:
            return self._json(self._stub(known)["JobSummary"])
        if method != "DELETE":
            raise NomadRefused(404, "no such handler")
        if known is not None and query.get("purge") == "true":
            self.state.remove_job(key)
        elif known is not None and not known["Stop"]:
            self.state.put_job(key, {**known, "Stop": True, "JobModifyIndex": self.state.index + 1}, "JobDeregistered")
        self.evaluate(key)
        return self._json({"EvalID": "", "JobModifyIndex": self.state.index})

    def _one(self, found: Object | None, missing: str) -> HttpResponse:
        if found is None:
            raise NomadRefused(404, missing)
        return self._json(found)

    def _page(self, items: list[Object], query: Mapping[str, str]) -> HttpResponse:
        size, start = int(query.get("per_page", 0)) or len(items), int(query.get("next_token", 0))
        if self.network.happens(self.network.weather.short_pages):
            size = min(size, 2)
        more = {"x-nomad-nexttoken": str(start + size)} if start + size < len(items) else {}
        return self._json(items[start : start + size], more)

    def _json(self, value: Any, headers: Mapping[str, str] | None = None) -> HttpResponse:
        now = datetime.fromtimestamp(int(EPOCH + self.network.scheduler.now), UTC)
        given = {"date": format_datetime(now, usegmt=True), "x-nomad-index": str(self.state.index), **(headers or {})}
        return HttpResponse(200, msgspec.json.encode(value), None, given)


class EventStream:
    """One event stream. It sends `{}` at once and every 30 s."""

    def __init__(self, agent: Agent, line: Line, topics: set[str], namespace: str, index: int) -> None:
        self._agent = agent
        self._line = line
        self._topics = topics
        self._namespace = namespace
        self._index = index

    def begin(self) -> None:
        """Begin with the events that are kept: without an index, all of them (nomad/stream/event_broker.go)."""
        self._beat()
        for event in self._agent.state.events:
            if event["Index"] >= self._index:
                self._send(event)
        self._agent.state.listeners.append(self._send)

    def _send(self, event: Object) -> None:
        if self._line.closed:
            if self._send in self._agent.state.listeners:
                self._agent.state.listeners.remove(self._send)
        elif self._namespace in ("*", event["Namespace"]) and self._topics & {"*", event["Topic"]}:
            self._line.send(msgspec.json.encode({"Index": event["Index"], "Events": [event]}))

    def _beat(self) -> None:
        if not self._line.closed:
            self._line.send(b"{}")
            self._agent.network.scheduler.after(HEARTBEAT_SECONDS, "a heartbeat", self._beat)


def matches(item: Object, expression: str) -> bool:
    """A filter expression of terms that are joined by `and`. Raises NomadRefused for anything else."""
    for term in filter(None, expression.split(" and ")):
        found = _TERM.fullmatch(term.strip().strip("()"))
        if found is None:
            raise NomadRefused(500, f"failed to read filter expression: {term}")
        if found["item"]:
            if (found["item"] in (item.get(found["map"]) or {})) == bool(found["no"]):
                return False
            continue
        value: Any = item
        for part in found["path"].split("."):
            value = (value or {}).get(part, "")
        if (str(value) == found["value"]) != (found["sign"] == "=="):
            return False
    return True
