"""A Nomad agent in memory, as an HttpClient: Variables, jobs, allocations, evaluations and a scripted event stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from runner.drivers.http.client import HttpResponse, Route, Unsettled
from runner.drivers.nomad.variable import PREFIX
from runner.errors import Timeout
from runner.runtime.clock import Deadline
from tests.harness.clock import ManualClock

Object = dict[str, Any]


class FakeAgent:
    """Every write raises `index`. `asked` has the method and path of each request; `before` is called before each."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.index = 10
        self.variables: dict[tuple[str, str], Object] = {}
        self.jobs: dict[tuple[str, str], Object] = {}
        self.log = b"last line"
        self.allocations: dict[str, list[Object]] = {}
        self.evaluations: dict[str, list[Object]] = {}
        self.asked: list[str] = []
        self.before: Callable[[str, str], None] = lambda _method, _path: None
        self.lines: Iterator[bytes | Callable[[], object] | Exception] = iter(())
        """What the next stream sends: lines, calls to make between them, and an error that ends it."""

    def request(
        self,
        _route: Route,
        method: str,
        path: str,
        _deadline: Deadline,
        *,
        body: bytes | None = None,
        headers: Sequence[str] = (),
        wanted: Sequence[str] = (),
    ) -> HttpResponse:
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        words = [unquote(each) for each in parts.path.removeprefix("/v1/").split("/")]
        self.asked.append(f"{method} {'/'.join(words)}")
        self.before(method, "/".join(words))
        status, found = self._answer(method, words, query, json.loads(body) if body else None)
        return HttpResponse(
            status,
            found if isinstance(found, bytes) else json.dumps(found).encode(),
            headers={"x-nomad-index": str(self.index)},
        )

    def stream(
        self,
        _route: Route,
        path: str,
        deadline: Deadline,
        received: Callable[[bytes], None],
        *,
        headers: Sequence[str] = (),
        silence_seconds: float,
    ) -> HttpResponse:
        self.asked.append(f"STREAM {path}")
        for each in self.lines:
            if isinstance(each, Exception):
                raise each
            if callable(each):
                each()
            else:
                received(each)
        return HttpResponse(200, b"")

    def writes(self) -> list[str]:
        return [each for each in self.asked if not each.startswith(("GET", "STREAM"))]

    def _answer(self, method: str, words: list[str], query: dict[str, str], body: Any) -> tuple[int, Any]:
        if method == "GET":
            return self._read(words, query)
        namespace = query["namespace"]
        match method, words:
            case "POST", ["var", path]:
                return self._write(namespace, path, body["Items"], int(query["cas"]))
            case "DELETE", ["var", path]:
                self.variables.pop((namespace, path), None)
                return 204, None
            case "DELETE", ["job", name]:
                if job := self.jobs.get((namespace, name)):
                    self.index += 1
                    job.update(Stop=True, ModifyIndex=self.index)
                return 200, {}
            case "POST", ["jobs"]:
                return self._register(namespace, body["Job"])
        raise AssertionError((method, words))

    def _read(self, words: list[str], query: dict[str, str]) -> tuple[int, Any]:
        namespace = query["namespace"]
        match words:
            case [("vars" | "jobs" | "allocations") as kind]:
                return 200, getattr(self, f"_list_{kind}")(namespace)
            case ["var", path]:
                found = self.variables.get((namespace, path))
                return (200, found) if found else (404, "not found")
            case ["job", name]:
                found = self.jobs.get((namespace, name))
                return (200, found) if found else (404, "job not found")
            case ["job", name, "allocations"]:
                return 200, self.allocations.get(name, [])
            case ["job", name, "evaluations"]:
                return 200, self.evaluations.get(name, [])
            case ["client", "fs", "logs", _]:
                return 200, self.log
        raise AssertionError(words)

    def _list_vars(self, namespace: str) -> list[Object]:
        ours = [
            each for (where, path), each in self.variables.items() if where == namespace and path.startswith(PREFIX)
        ]
        return [{key: value for key, value in each.items() if key != "Items"} for each in ours]

    def _list_jobs(self, namespace: str) -> list[Object]:
        return [each for (where, _), each in self.jobs.items() if where == namespace]

    def _list_allocations(self, _namespace: str) -> list[Object]:
        found = [each for allocations in self.allocations.values() for each in allocations]
        return [each for each in found if each["ClientStatus"] in ("running", "pending")]

    def _write(self, namespace: str, path: str, items: Any, cas: int) -> tuple[int, Any]:
        known = self.variables.get((namespace, path))
        if cas != (known["ModifyIndex"] if known else 0):
            return 409, known
        self.index += 1
        made = known["CreateIndex"] if known else self.index
        now = int(self.clock.wall() * 1e9)
        written = {"Path": path, "Items": items, "CreateIndex": made, "ModifyIndex": self.index, "ModifyTime": now}
        self.variables[(namespace, path)] = written
        return 200, written

    def _register(self, namespace: str, job: Object) -> tuple[int, Any]:
        if (namespace, job["ID"]) in self.jobs:
            return 500, "Enforcing job modify index 0: job exists"
        self.index += 1
        shown = {"ID": job["ID"], "Meta": job["Meta"], "Status": "pending", "SubmitTime": int(self.clock.wall() * 1e9)}
        shown |= {"Stop": False, "CreateIndex": self.index, "ModifyIndex": self.index}
        self.jobs[(namespace, job["ID"])] = shown
        return 200, {}

    # What the scheduler and the clients do.

    def allocate(
        self, name: str, status: str, *, namespace: str = "default", dead: bool = False, **tasks: Any
    ) -> Object:
        """Write the job's allocation. Returns the event of it."""
        self.index += 1
        states = {
            task: {"State": state, "Failed": failed, "Events": events}
            for task, (state, failed, events) in tasks.items()
        }
        allocation = {"ID": f"of {name}", "JobID": name, "ClientStatus": status, "TaskStates": states}
        allocation |= {"CreateIndex": 1, "ModifyIndex": self.index}
        self.allocations[name] = [allocation]
        if dead:
            self.jobs[(namespace, name)].update(Status="dead", ModifyIndex=self.index)
        return {"Topic": "Allocation", "Payload": {"Allocation": allocation}}

    def job_event(self, name: str, namespace: str = "default") -> Object:
        """The event that shows the job as it is now."""
        return {"Topic": "Job", "Payload": {"Job": dict(self.jobs[(namespace, name)])}}

    def items(self, name: str, namespace: str = "default") -> dict[str, str]:
        """The items of the job's Variable."""
        found: dict[str, str] = self.variables[(namespace, PREFIX + name)]["Items"]
        return found


def line(*events: Object) -> bytes:
    """A line of the event stream."""
    return json.dumps({"Index": 1, "Events": events}).encode() if events else b"{}"


SILENT = Unsettled("Nomad was silent")
OVER = Timeout("the deadline passed")
