"""A simulated Nomad: the agent, the scheduler, its nodes, garbage collection, and somebody who stops jobs."""

from __future__ import annotations

from tests.simulation.fates import EVERYWHERE, Fate, drawn
from tests.simulation.history import History
from tests.simulation.nomad.agent import Agent
from tests.simulation.nomad.allocation import AllocationMachine
from tests.simulation.nomad.state import Key, NomadState, Object
from tests.simulation.scenario import Scenario
from tests.simulation.seams.network import Network

URL = "http://nomad.simulated:4646"

KEPT_SECONDS = 20.0
"""Ended jobs are kept for so long. A real Nomad keeps them for hours, except on `nomad system gc`."""


class NomadCluster:
    """All of it. It writes down what truly happens."""

    def __init__(self, network: Network, history: History, namespaces: tuple[str, ...], plan: Scenario) -> None:
        self.state = NomadState(network.scheduler)
        self._scheduler = network.scheduler
        self._history = history
        self._namespaces = namespaces
        self._slow = plan.slow_controllers
        self._machines: dict[Key, list[tuple[int, AllocationMachine]]] = {}
        self._waiting: set[Key] = set()
        agent = Agent(network, self.state, namespaces)
        agent.evaluate, agent.registered = self._evaluate_later, self._registered
        agent.cancelled = self._cancelled
        network.servers[URL] = agent

    def delete(self, name: str) -> None:
        """Somebody stops and purges the job of that name."""
        for namespace in self._namespaces:
            key = (namespace, name)
            if (job := self.state.jobs.get(key)) is not None:
                self._history.record("nomad", namespace, name, _identity(job), "deleted")
                self.state.remove_job(key)
                self._evaluate_later(key)

    def compact(self) -> None:
        """Nomad collects jobs that ended a while ago."""
        latest = self.state.nanoseconds - KEPT_SECONDS * 1e9
        for key, job in list(self.state.jobs.items()):
            ended = max((each["ModifyTime"] for each in self.state.allocations_of(key)), default=0)
            if job["Status"] == "dead" and ended < latest:
                self._history.record("nomad", key[0], key[1], _identity(job), "deleted", "by garbage collection")
                self.state.remove_job(key)

    def _registered(self, key: Key, job: Object) -> None:
        self._history.record("nomad", key[0], key[1], _identity(job), "created")

    def _cancelled(self, key: Key) -> None:
        self._history.record("nomad", key[0], key[1], f"variable {self.state.index}", "tombstone")

    def _evaluate_later(self, key: Key) -> None:
        random = self._scheduler.random.random
        lag = random() * 6 if self._slow and random() < 0.3 else 0.01 + random() * 0.2
        self._scheduler.after(lag, f"Nomad's scheduler {key[1]}", lambda: self._evaluate(key))

    def _evaluate(self, key: Key) -> None:
        job = self.state.jobs.get(key)
        machines = self._machines.setdefault(key, [])
        current = (job["CreateIndex"], job["Version"]) if job else None
        for _, machine in machines:
            if job is None or job["Stop"] or machine.identity != f"{current[0]}.{current[1]}":
                machine.stop()
        if job is None:
            return
        live = [machine for _, machine in machines if not machine.ended]
        if job["Stop"]:
            self._set_status(key, job, "running" if live else "dead")
        elif not live and key not in self._waiting:
            self._settle(key, job)

    def _settle(self, key: Key, job: Object) -> None:
        """Place an allocation if there is none, or the last one was lost; else the job has ended."""
        its = [each for each in self.state.allocations_of(key) if each["JobVersion"] == job["Version"]]
        if not its or its[-1]["ClientStatus"] == "lost":
            fate = drawn(self._scheduler.random, EVERYWHERE)
            if fate.kind in ("never fits", "fits later"):
                self._block(key, job, fate)
            else:
                self._place(key, fate)
        else:
            self._set_status(key, job, "dead")

    def _block(self, key: Key, job: Object, fate: Fate) -> None:
        self._history.record("nomad", key[0], key[1], _identity(job), *fate.shortage)
        metric = {"NodesEvaluated": 3, "DimensionExhausted": {"cpu": 3}}
        for status, failed in (("complete", {"job": metric}), ("blocked", None)):
            self.state.put_evaluation(
                {
                    "ID": self.state.new_id(),
                    "JobID": key[1],
                    "Namespace": key[0],
                    "Status": status,
                    "FailedTGAllocs": failed,
                }
            )
        self._waiting.add(key)
        if fate.kind == "fits later":
            self._scheduler.after(fate.recover, f"{key[1]} fits at last", lambda: self._place(key, fate))

    def _place(self, key: Key, fate: Fate) -> None:
        self._waiting.discard(key)
        job = self.state.jobs.get(key)
        if job is None or job["Stop"]:
            return
        machine = AllocationMachine(self.state, self._history, key, job, fate, lambda: self._evaluate_later(key))
        self._machines.setdefault(key, []).append((job["Version"], machine))
        machine.begin()
        self._set_status(key, self.state.jobs[key], "running")

    def _set_status(self, key: Key, job: Object, status: str) -> None:
        if job["Status"] != status:
            self._waiting.discard(key)
            self.state.put_job(key, {**job, "Status": status}, "JobRegistered")


def _identity(job: Object) -> str:
    return f"{job['CreateIndex']}.{job['Version']}"
