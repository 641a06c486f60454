"""Restores Variables and jobs in the order in which they were written. Nomad runs the jobs that ran."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.clusters.nomad import NomadCluster
from tests.harness.processes import eventually
from tests.releases import State
from tests.releases.places import Place
from tests.releases.places.rest import Rest


class NomadPlace(Place):
    """A namespace."""

    def __init__(self, release: str, cluster: NomadCluster, request: pytest.FixtureRequest) -> None:
        super().__init__(release, "nomad")
        access = request.getfixturevalue("real_servers").nomad
        self._rest = Rest(access.url, access.ca, **{"X-Nomad-Token": access.token})
        self._namespace = cluster.config.nomad.namespace

    def put(self, *states: str) -> None:
        found = [self._here(self.states[name]) for name in states]
        for state in found:
            self._write(state, state["variables"][0])
            self._register(state, stop=False)
        for state in found:
            self._await(state)
            self._write(state, state["variables"][-1])
            if state["specification"] and state["specification"]["Stop"]:
                self._register(state, stop=True)

    def _here(self, state: State) -> State:
        here: State = json.loads(json.dumps(state).replace("{namespace}", self._namespace))
        return here

    def _write(self, state: State, items: dict[str, str]) -> None:
        path = f"nomad/jobs/{state['job']}"
        self._call("PUT", f"var/{path}", {"Path": path, "Items": items})

    def _register(self, state: State, *, stop: bool) -> None:
        if state["specification"]:
            self._call("PUT", "jobs", {"Job": {**state["specification"], "Stop": stop}})

    def _await(self, state: State) -> None:
        """Wait until the job has reached the state that it had before its Variable's last write, or its stop."""
        if state["specification"] and (reaches := state["request"]["reaches"]):
            wanted = "dead" if reaches == "ended" else "running"
            eventually(lambda: self._status(state["job"]) == wanted, f"{state['job']} is {wanted}", 40)

    def _status(self, name: str) -> str:
        found: list[dict[str, Any]] = self._call("GET", f"job/{name}/allocations")
        ended = [each["ClientStatus"] in ("complete", "failed") for each in found]
        running = [each["ClientStatus"] == "running" for each in found]
        return "running" if any(running) else "dead" if ended and all(ended) else "pending"

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        return self._rest(method, f"v1/{path}?namespace={self._namespace}", body)


def place(release: str, cluster: NomadCluster, request: pytest.FixtureRequest) -> NomadPlace:
    return NomadPlace(release, cluster, request)
