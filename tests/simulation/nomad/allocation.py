"""One allocation of a simulated Nomad, from its placement to its end."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import Any

from tests.simulation.fates import QUEUE_SECONDS, Fate
from tests.simulation.history import History
from tests.simulation.nomad.state import Key, NomadState, Object

_VARIABLE = re.compile(r'nomadVar "([^"]+)"')
_ITEM = re.compile(r"\.(\w+)\.Value")
NODE_LOST_SECONDS = 30.0


class AllocationMachine:
    """Runs the tasks of one allocation: coat before marvin. Each step is a callback that checks it still runs."""

    def __init__(
        self, state: NomadState, history: History, key: Key, job: Object, fate: Fate, ended: Callable[[], None]
    ):
        self._state = state
        self._scheduler = state.scheduler
        self._history = history
        self._key = key
        self._job = job
        self._fate = fate
        self._notify = ended
        self._tasks = [task["Name"] for task in job["TaskGroups"][0]["Tasks"]]
        self._states: dict[str, Object] = {}
        self._id = state.new_id()
        self._silent = False
        self._stopping = False
        self.ended = False

    @property
    def identity(self) -> str:
        return f"{self._job['CreateIndex']}.{self._job['Version']}"

    def begin(self) -> None:
        self._state.put_allocation(
            {
                "ID": self._id,
                "JobID": self._key[1],
                "Namespace": self._key[0],
                "TaskGroup": "job",
                "ClientStatus": "pending",
                "DesiredStatus": "run",
                "TaskStates": None,
                "JobVersion": self._job["Version"],
                "CreateTime": self._state.nanoseconds,
                "DesiredTransition": {},
                "NodeID": "node-1",
            }
        )
        self._step(self._fate.prepare, "is prepared", self._prepare)

    def stop(self) -> None:
        """The scheduler wants it to end."""
        if self._id not in self._state.allocations:  # purged with its job
            self.ended = True
        if not self.ended and not self._stopping:
            self._stopping = True
            self._put(DesiredStatus="stop", DesiredDescription="alloc not needed due to job update")
            self._step(0.1 + self._scheduler.random.random() * 2, "is killed", self._kill, dying=True)

    def _step(self, seconds: float, what: str, step: Callable[[], object], *, dying: bool = False) -> None:
        def checked() -> None:
            exists = self._id in self._state.allocations
            if exists and not self._silent and not self.ended and (dying or not self._stopping):
                step()

        self._scheduler.after(seconds, f"allocation of {self._key[1]} {what}", checked)

    def _record(self, what: str, detail: str) -> None:
        self._history.record("nomad", self._key[0], self._key[1], self.identity, what, detail)

    def _put(self, **change: Any) -> None:
        known = self._state.allocations[self._id]
        self._state.put_allocation({**known, **({"TaskStates": dict(self._states)} if self._states else {}), **change})

    def _event(self, task: str, kind: str, text: str, *, state: str, failed: bool = False, **details: str) -> None:
        known = self._states.get(task, {"Events": []})
        event = {"Type": kind, "Time": self._state.nanoseconds, "DisplayMessage": text, "Details": details}
        if kind == "Terminated":
            event |= {"ExitCode": int(details["exit_code"]), "Signal": int(details.get("signal", "0"))}
        self._states[task] = {"State": state, "Failed": failed, "Events": [*known["Events"], event]}

    def _prepare(self) -> None:
        first = self._tasks[0]
        if self._fate.kind == "image missing":
            self._record("happened", "image missing")
            text = f"Failed to pull `{first}:1`: API error (404): manifest for {first}:1 not found: manifest unknown"
            self._event(first, "Driver Failure", text, state="dead", failed=True, fails_task="true")
            self._finish("failed")
        elif not self._rendered(first):
            if first not in self._states:
                self._event(first, "Template", "Missing: nomad.var.block", state="pending")
                self._put()
            self._step(1 + self._scheduler.random.random() * 2, "renders its template", self._prepare)
        else:
            self._start(first)
            last = len(self._tasks) == 1
            self._step(self._fate.clone, "has cloned", self._main_ended if last else self._cloned)

    def _rendered(self, task: str) -> bool:
        """Whether the Variable of each template exists and has the items that the template reads."""
        specification = next(each for each in self._job["TaskGroups"][0]["Tasks"] if each["Name"] == task)
        for template in specification.get("Templates") or ():
            text = template["EmbeddedTmpl"]
            for path in _VARIABLE.findall(text):
                variable = self._state.variables.get((self._key[0], path))
                if variable is None or not set(_ITEM.findall(text)) <= set(variable["Items"]):
                    return False
        return True

    def _start(self, task: str) -> None:
        self._record("started", task)
        self._event(task, "Started", "Task started by client", state="running")
        self._put(ClientStatus="running")

    def _terminate(self, task: str, code: int, signal: int = 0, *, oom: bool = False) -> None:
        self._record("ended", f"{task} {code}")
        details = {"exit_code": str(code), "signal": str(signal), "oom_killed": str(oom).lower()}
        self._event(task, "Terminated", f"Exit Code: {code}", state="dead", failed=code != 0, **details)

    def _cloned(self) -> None:
        failed = self._fate.kind == "clone fails"
        self._terminate(self._tasks[0], 128 if failed else 0)
        if failed:
            self._record("happened", "clone fails")
            self._finish("failed")
            return
        self._put(ClientStatus="pending")  # as a client says of tasks of which one has ended and one has not started
        self._step(self._pull_seconds(), "renders its main task", self._run_main)

    def _pull_seconds(self) -> float:
        """How long the image of the main task is pulled: mostly it is there, sometimes longer than a job may wait."""
        random = Random(f"pull {self._fate.clone} {self._fate.run}")  # of its own, so that no other draw moves
        return random.random() * 1.5 * QUEUE_SECONDS if random.random() < 0.2 else 0.05

    def _run_main(self) -> None:
        main = self._tasks[-1]
        if not self._rendered(main):
            self._step(1 + self._scheduler.random.random() * 2, "renders its main task", self._run_main)
            return
        self._start(main)
        if self._fate.kind == "hangs":
            self._record("happened", "hangs")
        elif self._fate.kind == "node lost":
            self._step(self._fate.run / 2, "loses its node", self._lose_node)
        else:
            self._step(self._fate.run, "ends", self._main_ended)

    def _main_ended(self) -> None:
        main = self._tasks[-1]
        if self._fate.publishes:
            self._record("published", "")
            self._terminate(main, 0)
            self._finish("complete")
            return
        self._record("happened", self._fate.kind)
        oom = self._fate.kind == "out of memory"
        self._terminate(main, 137 if oom else 3, 9 if oom else 0, oom=oom)
        self._finish("failed")

    def _finish(self, status: str, **change: str) -> None:
        self.ended = True
        self._put(ClientStatus=status, **change)
        self._notify()

    def _lose_node(self) -> None:
        self._record("happened", "node lost")
        self._silent = True
        self._scheduler.after(NODE_LOST_SECONDS, f"the node of {self._key[1]} is given up", self._give_up)

    def _give_up(self) -> None:
        if self._id in self._state.allocations:
            description = "alloc was lost since its node is down"
            self._finish("lost", DesiredStatus="stop", DesiredDescription=description)

    def _kill(self) -> None:
        for task, known in list(self._states.items()):
            if known["State"] == "running":
                self._event(task, "Killing", "Sent interrupt. Waiting 30s before force killing", state="running")
                self._terminate(task, 143, 15)
                self._event(task, "Killed", "Task successfully killed", state="dead")
        self._finish("complete")
