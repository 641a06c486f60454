"""What the objects of a cluster's API look like with null in place of what they lack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from runner.drivers.kubernetes.events import EventPage
from runner.drivers.kubernetes.namespace import JobPage, PodPage
from runner.drivers.kubernetes.objects import JobObject, Metadata, PodObject
from runner.drivers.nomad.allocations.waiting import shortage
from runner.drivers.nomad.objects import Allocation, Evaluation, JobStub, StreamLine
from runner.drivers.nomad.observation import Evidence, observation
from runner.drivers.nomad.variable import VariableStub
from runner.outcomes import classify
from tests.unit.drivers.kubernetes.objects import DONE, FAILED, exited, job_document, observed, pod_document

JOB = job_document(FAILED)
POD = pod_document(init={"coat": DONE}, main={"marvin": exited(3)}, conditions=({"type": "Ready", "status": "True"},))
EVENT: dict[str, Any] = {"reason": "FailedMount", "message": "x", "metadata": {}, "lastTimestamp": None}
TASK = {"State": "dead", "Failed": True, "Events": [{"Type": "Terminated", "Details": {"exit_code": "3"}, "Time": 1}]}
ALLOCATION = {
    "ID": "x",
    "JobID": "a",
    "ClientStatus": "failed",
    "ClientDescription": "",
    "DesiredStatus": "run",
    "DesiredDescription": "",
    "TaskStates": {"marvin": TASK},
    "DesiredTransition": {"Migrate": None},
    "PreemptedByAllocation": "",
    "CreateIndex": 1,
    "ModifyIndex": 2,
    "ModifyTime": 3,
}
STUB = {
    "ID": "a",
    "Meta": {},
    "Status": "dead",
    "StatusDescription": "",
    "Stop": False,
    "SubmitTime": 1,
    "CreateIndex": 1,
    "ModifyIndex": 1,
    "JobSummary": {"Summary": {"job": {"Running": 1}}},
}
EVALUATION = {
    "Status": "complete",
    "StatusDescription": "",
    "CreateIndex": 1,
    "JobID": "a",
    "FailedTGAllocs": {"job": {"NodesEvaluated": 1, "ClassFiltered": {}, "QuotaExhausted": []}},
}
VARIABLE = {"Path": "nomad/jobs/a", "Items": {"a": "b"}, "CreateIndex": 1, "ModifyIndex": 1, "ModifyTime": 1}

OBJECTS: list[tuple[type[Any], Any]] = [
    (JobObject, JOB),
    (PodObject, POD),
    (JobPage, {"items": [JOB], "metadata": {"continue": "x", "resourceVersion": "1"}}),
    (PodPage, {"items": [POD], "metadata": {"continue": "x", "resourceVersion": "1"}}),
    (EventPage, {"items": [EVENT], "metadata": {"continue": "x"}}),
    (JobStub, STUB),
    (Allocation, ALLOCATION),
    (Evaluation, EVALUATION),
    (StreamLine, {"Events": [{"Type": "x", "Payload": {"Allocation": ALLOCATION, "Job": STUB}}]}),
    (VariableStub, VARIABLE),
]
MAPS = {"labels", "annotations", "Meta", "Details", "Items", "ClassFiltered", "Summary", "FailedTGAllocs"}
"""Fields whose members have names of their own."""
REQUIRED = {"name", "type", "ID", "Path"}
"""Fields without which an object is none of its kind."""


def without(document: Any) -> Iterator[tuple[str, Any, Any]]:
    """For each field at any depth: its path, the document with null in its place, and the document without it."""
    members: Any = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in members:
        if isinstance(document, dict) and key not in REQUIRED:
            yield key, {**document, key: None}, {name: each for name, each in document.items() if name != key}
        if isinstance(value, dict | list) and key not in MAPS:
            for path, *changed in without(value):
                yield f"{key}.{path}", *(_replaced(document, key, each) for each in changed)


def _replaced(document: Any, key: Any, value: Any) -> Any:
    if isinstance(document, dict):
        return {**document, key: value}
    return [value if number == key else each for number, each in enumerate(document)]


FIELDS = [
    pytest.param(kind, *changed, id=f"{kind.__name__} {path}")
    for kind, document in OBJECTS
    for path, *changed in without(document)
    if path.rsplit(".", 1)[-1] not in ("items", "metadata")
]


@pytest.mark.parametrize(("kind", "null", "absent"), FIELDS)
def test_null_is_read_as_absent(kind: type[Any], null: Any, absent: Any) -> None:
    assert msgspec.json.decode(json.dumps(null), type=kind) == msgspec.json.decode(json.dumps(absent), type=kind)


@pytest.mark.parametrize("kind", [JobPage, PodPage, EventPage])
def test_a_list_may_have_null_for_its_items_and_an_answer_without_them_is_none(kind: type[Any]) -> None:
    assert msgspec.json.decode(b'{"items": null, "metadata": null}', type=kind).items is None
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b"{}", type=kind)


def test_defaults_are_not_shared() -> None:
    first, second = (msgspec.convert({"annotations": None}, Metadata) for _ in range(2))
    assert first.annotations == {}
    assert first.annotations is not second.annotations


def test_a_job_whose_pod_lacks_everything_else() -> None:
    """What an aggregated API server, or a proxy that was written in another language, may answer."""
    nothing = dict.fromkeys(("reason", "message", "conditions", "initContainerStatuses"))
    status = {**nothing, "phase": "Failed", "containerStatuses": [{"name": "marvin", "state": exited(3)}]}
    job, pod = ({**each, "status": dict.fromkeys(each["status"])} for each in (JOB, POD))
    for shown in ({**pod, "status": status}, {**POD, "status": status}):
        outcome = classify(observed(msgspec.convert(job, JobObject), msgspec.convert(shown, PodObject)))
        assert outcome is not None
        assert outcome.code == 5107
    for shown in (pod, {**pod, "status": None}):
        assert observed(msgspec.convert(job, JobObject), msgspec.convert(shown, PodObject)).phase == "waiting"


def test_an_allocation_and_an_evaluation_that_lack_everything_else() -> None:
    stub = msgspec.convert({**dict.fromkeys(STUB), "ID": "a", "JobSummary": {"Summary": None}}, JobStub)
    last = msgspec.convert({**dict.fromkeys(ALLOCATION), "ID": "x", "TaskStates": {"marvin": None}}, Allocation)
    assert observation(Evidence(stub, None, [last]), "nomad").phase == "waiting"
    assert shortage([msgspec.convert({"FailedTGAllocs": {"job": None}}, Evaluation)]) == ""
