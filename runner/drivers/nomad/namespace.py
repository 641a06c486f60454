"""The requests of the driver to one Nomad namespace, each as one method with typed values. It decides nothing.

Every method returns the result or raises; Unsettled means that the request may have been applied. `EnforceIndex` and
`cas` are Nomad's parameters for a check-and-set: apply the write only if the index has not changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from runner.drivers.nomad.api import NomadClient, NomadResponse, quoted, raise_for_status
from runner.drivers.nomad.objects import Allocation, Evaluation, JobStub
from runner.drivers.nomad.specification import Specification
from runner.drivers.nomad.variable import PREFIX, JobVariable, VariableStub, read_variable, variable_path
from runner.errors import Rejected
from runner.runtime.clock import Deadline

PAGE = "1000"
_ENFORCED = "Enforcing job modify index"  # nomad/job_endpoint.go, RegisterEnforceIndexErrPrefix
FOREIGN = "no Variable of a job:"
_TOPICS = ("Job", "Allocation", "Evaluation")
_PROBE = "orchestrator-check"
_VARIABLES = quoted("var", PREFIX)
_NEVER, _IMPOSSIBLE = {"never": "written"}, 2**62
"""The items, and an index that cannot match, of a write that only tries a capability."""
_Listed = TypeVar("_Listed")

Trial = tuple[str, Callable[[Deadline], object]]
"""A capability, and a request without effect that needs it."""


class Listing(msgspec.Struct, Generic[_Listed], frozen=True):
    """All objects of a kind, and the time of the listing by the agent's clock, in seconds since the epoch."""

    now: float
    items: list[_Listed]
    index: int = 0
    """Every change up to this modify index is in the listing. 0 if Nomad did not say."""


class Namespace:
    """One namespace of one cluster."""

    def __init__(self, agent: NomadClient, name: str) -> None:
        self._agent = agent
        self.name = name

    def __repr__(self) -> str:
        return f"Namespace({self.name})"

    def sibling(self, name: str) -> Namespace:
        """Another namespace of the same cluster."""
        return Namespace(self._agent, name)

    def variable(self, name: str, deadline: Deadline) -> JobVariable | None:
        """The job's Variable; None if there is none. Raises Rejected if it is not the Orchestrator's."""
        response = self._call("GET", _endpoint(name), deadline, "variables read")
        return None if response.status == 404 else _decoded(response, name)

    def write(self, name: str, items: Mapping[str, str], index: int, deadline: Deadline) -> bool:
        """Write the job's Variable if its index is still `index` (0: it does not exist). False if it is not."""
        body = {"Path": variable_path(name), "Items": items}
        response = self._call("POST", _endpoint(name), deadline, "variables write", body, cas=str(index))
        self._must_exist(response)
        return response.status != 409

    def record(self, path: str, deadline: Deadline) -> VariableStub | None:
        """The Variable at any path; None if there is none."""
        response = self._call("GET", quoted("var", path), deadline, f"variables read on {path}")
        return None if response.status == 404 else msgspec.json.decode(response.body, type=VariableStub)

    def write_record(self, path: str, items: Mapping[str, str], index: int, deadline: Deadline) -> int | None:
        """Write the Variable at any path if its index is still `index` (0: it does not exist).

        Returns its new index; None if it was not.
        """
        body = {"Path": path, "Items": items}
        capability = f"variables write on {path}"
        response = self._call("POST", quoted("var", path), deadline, capability, body, cas=str(index))
        self._must_exist(response)
        if response.status == 409:
            return None
        return msgspec.json.decode(response.body, type=VariableStub).modify_index

    def delete(self, name: str, index: int, deadline: Deadline) -> None:
        """Delete the job's Variable if its index is still `index`."""
        self._call("DELETE", _endpoint(name), deadline, "variables destroy", cas=str(index))

    def job(self, name: str, deadline: Deadline) -> JobStub | None:
        """The job; None if there is none."""
        response = self._call("GET", quoted("job", name), deadline, "read-job")
        return None if response.status == 404 else msgspec.json.decode(response.body, type=JobStub)

    def register(self, specification: Specification, deadline: Deadline) -> bool:
        """Register a new job. False if a job of that name exists."""
        body = {"Job": specification, "EnforceIndex": True, "JobModifyIndex": 0}
        response = self._agent.call("POST", "jobs", deadline, body=body, query=self._query())
        if response.status == 500 and _ENFORCED in response.message:
            return False
        raise_for_status(response, f"register-job (or submit-job) in namespace {self.name}")
        self._must_exist(response)
        return True

    def stop(self, name: str, deadline: Deadline) -> None:
        """Stop a job without removing it. It has no effect on an ended job."""
        self._call("DELETE", quoted("job", name), deadline, "deregister-job (or submit-job)")

    def jobs(self, deadline: Deadline, *, ended: bool = True) -> Listing[JobStub]:
        """All jobs of the Orchestrator; with `ended=False` only those that have not ended."""
        ours = '"manager" in Meta and Meta.manager == "runner"' + ("" if ended else ' and Status != "dead"')
        return self._list("jobs", deadline, "list-jobs", JobStub, meta="true", filter=ours)

    def variables(self, deadline: Deadline) -> Listing[VariableStub]:
        """The Variables of all jobs, without their items. The read capability includes listing (acl/policy.go)."""
        return self._list("vars", deadline, "variables read", VariableStub, prefix=PREFIX)

    def variables_index(self, known: int, seconds: int, deadline: Deadline) -> int:
        """The index of the last change to any job's Variable. Waits up to `seconds` for one after `known`."""
        wait = {"index": str(known), "wait": f"{seconds}s", "per_page": "1", "prefix": PREFIX}
        return self._call("GET", "vars", deadline, "variables read", **wait).index

    def running_allocations(self, deadline: Deadline) -> dict[str, list[Allocation]]:
        """The allocations that have not ended, by the name of their job. Other programs' jobs are included."""
        running = " and ".join(f'ClientStatus != "{status}"' for status in ("complete", "failed", "lost"))
        listed = self._list("allocations", deadline, "read-job", Allocation, task_states="true", filter=running)
        found: dict[str, list[Allocation]] = {}
        for each in sorted(listed.items, key=lambda each: each.create_index):
            found.setdefault(each.job_id, []).append(each)
        return found

    def events(self, deadline: Deadline, received: Callable[[bytes], None], silence_seconds: float) -> NomadResponse:
        """Pass on each line of the event stream. See NomadClient.stream.

        Raises Rejected if the stream is refused with an error. Most refusals are a stream without any line.
        """
        query = [("namespace", self.name), *(("topic", f"{each}:*") for each in _TOPICS)]
        response = self._agent.stream("event/stream", query, deadline, received, silence_seconds=silence_seconds)
        raise_for_status(response, f"read-job (for the event stream) in namespace {self.name}")
        return response

    def allocations(self, name: str, deadline: Deadline) -> list[Allocation]:
        """The job's allocations, the newest last."""
        response = self._call("GET", quoted("job", name, "allocations"), deadline, "read-job")
        found = [] if response.status == 404 else msgspec.json.decode(response.body, type=list[Allocation] | None) or []
        return sorted(found, key=lambda each: each.create_index)

    def evaluations(self, name: str, deadline: Deadline) -> list[Evaluation]:
        """The job's evaluations, the newest last."""
        response = self._call("GET", quoted("job", name, "evaluations"), deadline, "read-job")
        found = [] if response.status == 404 else msgspec.json.decode(response.body, type=list[Evaluation] | None) or []
        return sorted(found, key=lambda each: each.create_index)

    def task_log(self, allocation: str, task: str, stream: str, size: int, deadline: Deadline) -> str:
        """The last `size` bytes of a task's output stream. Raises Rejected if there is no such log yet."""
        response = self._task_log(allocation, task, stream, ("end", size), deadline)
        if response.status == 404:
            raise Rejected(response.message)
        return response.body.decode(errors="replace")

    def task_log_from(self, allocation: str, task: str, stream: str, start: int, deadline: Deadline) -> bytes:
        """A task's output stream from byte `start` on; empty if there is no such log (yet)."""
        response = self._task_log(allocation, task, stream, ("start", start), deadline)
        return b"" if response.status == 404 else response.body

    def _task_log(
        self, allocation: str, task: str, stream: str, position: tuple[str, int], deadline: Deadline
    ) -> NomadResponse:
        path, (origin, offset) = f"client/fs/logs/{quoted(allocation)}", position
        wanted = {"task": task, "type": stream, "plain": "true", "origin": origin, "offset": str(offset)}
        return self._call("GET", path, deadline, "read-logs", **wanted)

    def check(self, deadline: Deadline) -> None:
        """Raises Rejected, with the name of the capability, if the token lacks one that the driver needs.

        See `trials`.
        """
        for _, trial in self.trials():
            trial(deadline)

    def trials(self) -> Sequence[Trial]:
        """A request for each capability, which raises Rejected, with its name, if the token lacks it.

        Each write is tried with an index that cannot match, so nothing changes. Reading logs cannot be tried, since
        that needs a job.
        """
        return (
            ("list-jobs", lambda deadline: self._call("GET", "jobs", deadline, "list-jobs", per_page="1")),
            ("variables read", lambda deadline: self.variable(_PROBE, deadline)),
            ("read-job", lambda deadline: self.job(_PROBE, deadline)),
            ("variables write", lambda deadline: self.write(_PROBE, _NEVER, _IMPOSSIBLE, deadline)),
            ("variables destroy", lambda deadline: self.delete(_PROBE, _IMPOSSIBLE, deadline)),
            ("register-job (or submit-job)", self._try_register),
            ("deregister-job (or submit-job)", lambda deadline: self.stop(_PROBE, deadline)),
        )

    def leader_trials(self, path: str) -> Sequence[Trial]:
        """The same for the Variable at `path`, by which the trackers agree on a leader."""
        return (
            (f"variables read on {path}", lambda deadline: self.record(path, deadline)),
            (f"variables write on {path}", lambda deadline: self.write_record(path, _NEVER, _IMPOSSIBLE, deadline)),
        )

    def _try_register(self, deadline: Deadline) -> None:
        job = {
            "ID": _PROBE,
            "Name": _PROBE,
            "Type": "batch",
            "Namespace": self.name,
            "Datacenters": ["*"],
            "TaskGroups": [{"Name": "g", "Tasks": [{"Name": "t", "Driver": "none", "Config": {}}]}],
        }
        body = {"Job": job, "EnforceIndex": True, "JobModifyIndex": _IMPOSSIBLE}
        response = self._agent.call("POST", "jobs", deadline, body=body, query=self._query())
        if _ENFORCED not in response.message:
            raise_for_status(response, f"register-job (or submit-job) in namespace {self.name}")
            self._must_exist(response)

    def _list(
        self, path: str, deadline: Deadline, capability: str, kind: type[_Listed], **query: str
    ) -> Listing[_Listed]:
        found: list[_Listed] = []
        next_page: dict[str, str] = {}
        index: int | None = None
        while True:
            response = self._call("GET", path, deadline, capability, per_page=PAGE, **query, **next_page)
            found += msgspec.json.decode(response.body, type=list[kind] | None) or []  # type: ignore[valid-type]
            index = response.index if index is None else index  # of the first page: later ones show later changes
            if not response.next_page:
                return Listing(response.now, found, index)
            next_page = {"next_token": response.next_page}

    def _call(
        self, method: str, path: str, deadline: Deadline, capability: str, body: Any = None, **query: str
    ) -> NomadResponse:
        response = self._agent.call(method, path, deadline, body=body, query={**query, **self._query()})
        raise_for_status(response, f"{capability} in namespace {self.name}")
        return response

    def _must_exist(self, response: NomadResponse) -> None:
        if response.status == 404:
            raise Rejected(
                f"the Nomad namespace {self.name} does not exist: {response.message}; create it, or correct"
                " nomad.namespace"
            )

    def _query(self) -> dict[str, str]:
        return {"namespace": self.name}


def _endpoint(name: str) -> str:
    return f"{_VARIABLES}{quoted(name)}"


def _decoded(response: NomadResponse, name: str) -> JobVariable | None:
    variable = read_variable(msgspec.json.decode(response.body, type=VariableStub), response.now)
    if variable is None:
        raise Rejected(f"{FOREIGN} {variable_path(name)}: the Variable was written by another program; delete it")
    return variable
