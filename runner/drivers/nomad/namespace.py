"""What the driver asks of one Namespace on Nomad, each as one call with typed values. Decides nothing.

Every call either has its answer, or raises: Unsettled where it may have been applied. `EnforceIndex` and `cas` are
Nomad's words for "only if nobody was faster".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

from runner.drivers.nomad import record as nomad_record
from runner.drivers.nomad.api import NomadClient, NomadResponse, quoted, refuse
from runner.drivers.nomad.observation import Allocation, Evaluation, JobStub
from runner.drivers.nomad.record import Record, Variable
from runner.drivers.nomad.specification import Specification
from runner.errors import Rejected
from runner.runtime.clock import Deadline

PAGE = "1000"
_ENFORCED = "Enforcing job modify index"  # nomad/job_endpoint.go, RegisterEnforceIndexErrPrefix
_PROBE = "orchestrator-check"
_Listed = TypeVar("_Listed")


class Listing(msgspec.Struct, Generic[_Listed], frozen=True):
    """All there is of a kind, and when that was, by the agent's clock."""

    now: float
    items: list[_Listed]


class Namespace:
    """One namespace of one cluster."""

    def __init__(self, agent: NomadClient, name: str) -> None:
        self._agent = agent
        self.name = name

    def __repr__(self) -> str:
        return f"Namespace({self.name})"

    def record(self, name: str, deadline: Deadline) -> Record | None:
        """What the job's Variable says; None where there is none."""
        answer = self._call("GET", _variable(name), deadline, "variables read")
        return None if answer.status == 404 else _record(answer, name)

    def write(self, name: str, items: Mapping[str, str], index: int, deadline: Deadline) -> bool:
        """Write the job's Variable if it is still as it was at `index` (0: not there). False where it is not."""
        body = {"Path": nomad_record.path(name), "Items": items}
        answer = self._call("POST", _variable(name), deadline, "variables write", body, cas=str(index))
        self._must_exist(answer)
        return answer.status != 409

    def drop(self, name: str, index: int, deadline: Deadline) -> None:
        """Delete the job's Variable, if it is still as it was at `index`."""
        self._call("DELETE", _variable(name), deadline, "variables destroy", cas=str(index))

    def job(self, name: str, deadline: Deadline) -> JobStub | None:
        """The job; None where there is none."""
        answer = self._call("GET", quoted("job", name), deadline, "read-job")
        return None if answer.status == 404 else msgspec.json.decode(answer.body, type=JobStub)

    def register(self, specification: Specification, deadline: Deadline) -> bool:
        """Register a new job. False where the name is taken."""
        body = {"Job": specification, "EnforceIndex": True, "JobModifyIndex": 0}
        answer = self._agent.call("POST", "jobs", deadline, body=body, query=self._query())
        if answer.status == 500 and _ENFORCED in answer.message:
            return False
        refuse(answer, f"register-job (or submit-job) in namespace {self.name}")
        self._must_exist(answer)
        return True

    def stop(self, name: str, deadline: Deadline) -> None:
        """Stop a job and keep its name. Harmless where it has ended."""
        self._call("DELETE", quoted("job", name), deadline, "deregister-job (or submit-job)")

    def jobs(self, deadline: Deadline) -> Listing[JobStub]:
        """All jobs of ours."""
        ours = '"manager" in Meta and Meta.manager == "runner"'
        return self._list("jobs", deadline, "list-jobs", JobStub, meta="true", filter=ours)

    def variables(self, deadline: Deadline) -> Listing[Variable]:
        """All jobs' Variables, without their items. What may be read may be listed (acl/policy.go)."""
        return self._list("vars", deadline, "variables read", Variable, prefix=nomad_record.PREFIX)

    def allocations(self, name: str, deadline: Deadline) -> list[Allocation]:
        """The job's allocations, the newest last."""
        answer = self._call("GET", quoted("job", name, "allocations"), deadline, "read-job")
        found = [] if answer.status == 404 else msgspec.json.decode(answer.body, type=list[Allocation])
        return sorted(found, key=lambda each: each.create_index)

    def evaluations(self, name: str, deadline: Deadline) -> list[Evaluation]:
        """The job's evaluations, the newest last."""
        answer = self._call("GET", quoted("job", name, "evaluations"), deadline, "read-job")
        found = [] if answer.status == 404 else msgspec.json.decode(answer.body, type=list[Evaluation])
        return sorted(found, key=lambda each: each.create_index)

    def log(self, allocation: str, task: str, stream: str, size: int, deadline: Deadline) -> str:
        """The last `size` bytes of what a task has written. Raises Rejected where it has written nothing yet."""
        path = f"client/fs/logs/{quoted(allocation)}"
        wanted = {"task": task, "type": stream, "plain": "true", "origin": "end", "offset": str(size)}
        answer = self._call("GET", path, deadline, "read-logs", **wanted)
        if answer.status == 404:
            raise Rejected(answer.message)
        return answer.body.decode(errors="replace")

    def check(self, deadline: Deadline) -> None:
        """Raises Rejected, naming the capability, where the token lacks one that a job's life needs.

        Each is tried on what cannot be: nothing is changed. Reading logs alone can't be tried without a job.
        """
        self._call("GET", "jobs", deadline, "list-jobs", per_page="1")
        self.record(_PROBE, deadline)
        self.job(_PROBE, deadline)
        impossible = 2**62
        self.write(_PROBE, {"never": "written"}, impossible, deadline)
        self.drop(_PROBE, impossible, deadline)
        self._try_register(impossible, deadline)
        self.stop(_PROBE, deadline)

    def _try_register(self, impossible: int, deadline: Deadline) -> None:
        job = {
            "ID": _PROBE,
            "Name": _PROBE,
            "Type": "batch",
            "Namespace": self.name,
            "Datacenters": ["*"],
            "TaskGroups": [{"Name": "g", "Tasks": [{"Name": "t", "Driver": "none", "Config": {}}]}],
        }
        body = {"Job": job, "EnforceIndex": True, "JobModifyIndex": impossible}
        answer = self._agent.call("POST", "jobs", deadline, body=body, query=self._query())
        if _ENFORCED not in answer.message:
            refuse(answer, f"register-job (or submit-job) in namespace {self.name}")
            self._must_exist(answer)

    def _list(
        self, path: str, deadline: Deadline, capability: str, kind: type[_Listed], **query: str
    ) -> Listing[_Listed]:
        found: list[_Listed] = []
        proceed: dict[str, str] = {}
        while True:
            answer = self._call("GET", path, deadline, capability, per_page=PAGE, **query, **proceed)
            found += msgspec.json.decode(answer.body, type=list[kind])  # type: ignore[valid-type]
            if not answer.next_page:
                return Listing(answer.now, found)
            proceed = {"next_token": answer.next_page}

    def _call(
        self, method: str, path: str, deadline: Deadline, capability: str, body: Any = None, **query: str
    ) -> NomadResponse:
        answer = self._agent.call(method, path, deadline, body=body, query={**query, **self._query()})
        refuse(answer, f"{capability} in namespace {self.name}")
        return answer

    def _must_exist(self, answer: NomadResponse) -> None:
        if answer.status == 404:
            raise Rejected(f"the Nomad namespace {self.name} is not there: {answer.message}")

    def _query(self) -> dict[str, str]:
        return {"namespace": self.name}


def _variable(name: str) -> str:
    return quoted("var", nomad_record.path(name))


def _record(answer: NomadResponse, name: str) -> Record | None:
    record = nomad_record.read(msgspec.json.decode(answer.body, type=Variable), answer.now)
    if record is None:
        raise Rejected(f"the Variable {nomad_record.path(name)} is somebody else's; the job's own must have that path")
    return record
