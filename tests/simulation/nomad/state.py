"""The state of a simulated Nomad region: jobs, allocations, evaluations and Variables, under one index."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from tests.simulation.scheduler import EPOCH, Scheduler

Object = dict[str, Any]
Key = tuple[str, str]
"""Namespace, and the id or path."""

EVENTS_KEPT = 60
"""Events before that are gone, and a stream that asks for them misses them silently."""


class NomadState:
    """Every object. `listeners` get each event: topic, namespace, key, object, index."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.index = 10
        self.jobs: dict[Key, Object] = {}
        self.allocations: dict[str, Object] = {}
        self.evaluations: dict[str, Object] = {}
        self.variables: dict[Key, Object] = {}
        self.events: deque[Object] = deque(maxlen=EVENTS_KEPT)
        self.listeners: list[Callable[[Object], None]] = []

    @property
    def nanoseconds(self) -> int:
        return int((EPOCH + self.scheduler.now) * 1e9)

    def new_id(self) -> str:
        number = self.scheduler.random.getrandbits(128)
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def put_job(self, key: Key, job: Object, kind: str = "JobRegistered") -> Object:
        self.index += 1
        known = self.jobs.get(key)
        created = known["CreateIndex"] if known else self.index
        stored = {**job, "CreateIndex": created, "ModifyIndex": self.index}
        self.jobs[key] = stored
        self._publish("Job", kind, key[0], key[1], stored)
        return stored

    def put_allocation(self, allocation: Object) -> Object:
        self.index += 1
        known = self.allocations.get(allocation["ID"])
        stored = {
            **allocation,
            "CreateIndex": known["CreateIndex"] if known else self.index,
            "ModifyIndex": self.index,
            "ModifyTime": self.nanoseconds,
        }
        self.allocations[allocation["ID"]] = stored
        self._publish("Allocation", "AllocationUpdated", stored["Namespace"], stored["ID"], stored)
        return stored

    def put_evaluation(self, evaluation: Object) -> None:
        self.index += 1
        known = self.evaluations.get(evaluation["ID"])
        stored = {
            **evaluation,
            "CreateIndex": known["CreateIndex"] if known else self.index,
            "ModifyIndex": self.index,
        }
        self.evaluations[evaluation["ID"]] = stored
        self._publish("Evaluation", "EvaluationUpdated", stored["Namespace"], stored["ID"], stored)

    def put_variable(self, key: Key, items: Object) -> Object:
        self.index += 1
        known = self.variables.get(key)
        now = self.nanoseconds
        stored = {
            "Namespace": key[0],
            "Path": key[1],
            "Items": items,
            "CreateIndex": known["CreateIndex"] if known else self.index,
            "ModifyIndex": self.index,
            "CreateTime": known["CreateTime"] if known else now,
            "ModifyTime": now,
        }
        self.variables[key] = stored
        return stored

    def remove_job(self, key: Key) -> None:
        """With its allocations and evaluations."""
        if (job := self.jobs.pop(key, None)) is None:
            return
        self.index += 1
        for kept in (self.allocations, self.evaluations):
            for each in [each for each, it in kept.items() if (it["Namespace"], it["JobID"]) == key]:
                del kept[each]
        self._publish("Job", "JobDeregistered", key[0], key[1], {**job, "Stop": True})

    def allocations_of(self, key: Key) -> list[Object]:
        """A job's allocations, the oldest first."""
        return [each for each in self.allocations.values() if (each["Namespace"], each["JobID"]) == key]

    def _publish(self, topic: str, kind: str, namespace: str, key: str, payload: Object) -> None:
        job = payload.get("JobID", payload.get("ID"))
        event = {
            "Topic": topic,
            "Type": kind,
            "Key": key,
            "Namespace": namespace,
            "FilterKeys": [job],
            "Index": self.index,
            "Payload": {topic: payload},
        }
        self.events.append(event)
        for listener in tuple(self.listeners):
            listener(event)
