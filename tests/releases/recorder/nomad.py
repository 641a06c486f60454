"""Jobs as Nomad shows them, and what stood in their Variables: after the submit, and at the end."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from recorder import release, states
from recorder.cut import Cut
from recorder.states import HALF_MADE, STATES, Recording, State

from tests import cluster
from tests.nomad.access import Nomad

NOWHERE = {"nowhere": {"datacenters": ["nowhere"]}}
_OF_THE_SERVER = (
    "CreateIndex",
    "ModifyIndex",
    "JobModifyIndex",
    "SubmitTime",
    "Status",
    "StatusDescription",
    "Version",
)

DELETED = State(name="half-made-deleted", request_type="analysis_run", main="exit 0")
"""Half-made, never repeated, and reported as deleted."""
HALF_CANCELLED = State(name="half-cancelled", request_type="analysis_run", main=states._ENDLESS, reaches="running")
"""Its Variable is closed; whoever cancelled it was killed before the job was stopped."""


def record(make_config: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as work:
        nomad = Nomad(cluster.up().nomad, Path(work))
        try:
            return _record(nomad, make_config)
        finally:
            nomad.close()


def _record(nomad: Nomad, make_config: Any) -> dict[str, Any]:
    config = nomad.config(make_config)
    held = nomad.config(lambda **sections: make_config(**sections, defaultPool="nowhere"), pools=NOWHERE)
    driver = release.make(release.NomadDriver, config, secrets=states.secrets)
    recording = Recording(
        driver, release.make(release.NomadDriver, held, secrets=states.secrets), config, held, "shell"
    )
    variables: dict[str, list[dict[str, str]]] = {}
    recording.submitted = lambda name: variables.setdefault(name, []).append(_items(nomad, name))
    for state in STATES:
        recording.play(state)
    _half_cancelled(recording, config)
    for state in (HALF_MADE, DELETED):
        _half_made(recording, state, config)
    variables_then = {name: list(found) for name, found in variables.items()}
    jobs = {each["ID"]: _job(nomad.get(f"job/{each['ID']}")) for each in nomad.get("jobs")}
    said = recording.said()  # which may stop the half-cancelled, so it comes last
    placeholders = {nomad.namespace: "{namespace}"}
    return {"placeholders": placeholders, "states": _states(nomad, recording, said, variables_then, jobs)}


def _states(nomad: Nomad, recording: Recording, said: Any, variables: Any, jobs: Any) -> dict[str, Any]:
    states_found = {}
    for state, name in recording.names.items():
        first, last = variables.get(name, []), _items(nomad, name)
        written = [*first, last] if not first or first[-1] != last else first
        states_found[state] = {**said[state], "variables": written, "specification": jobs.get(name)}
    return states_found


def _half_made(recording: Recording, state: State, config: Any) -> None:
    """A Variable without a job."""
    agent = Cut(release.Agent(config.nomad), lambda method, path: (method, path) == ("POST", "jobs"))
    driver = release.make(release.NomadDriver, config, secrets=states.secrets, agent=agent)
    planned = states.job(state, config, "shell")
    recording.names[state.name] = planned.name
    agent.dies(lambda: driver.submit(planned, release.after(states.SECONDS)))
    if state is DELETED:
        recording.submitted(planned.name)
        driver.mark_reported(planned.name, release.Outcome(reason="deleted", code=5109, hmessage="It was deleted."))


def _half_cancelled(recording: Recording, config: Any) -> None:
    """A closed Variable, and a job that runs on."""
    recording.play(HALF_CANCELLED)
    agent = Cut(release.Agent(config.nomad), lambda method, path: method == "DELETE" and path.startswith("job/"))
    driver = release.make(release.NomadDriver, config, secrets=states.secrets, agent=agent)
    cancellation = states.action("cancel_check_run", states.cancellation_document(HALF_CANCELLED), config)
    agent.dies(lambda: driver.cancel(cancellation, release.after(states.SECONDS), tombstone=True))


def _items(nomad: Nomad, name: str) -> dict[str, str]:
    items: dict[str, str] = nomad.get(f"var/nomad/jobs/{name}")["Items"]
    return items


def _job(job: dict[str, Any]) -> Any:
    return _without_nothing({name: value for name, value in job.items() if name not in _OF_THE_SERVER})


def _without_nothing(value: Any) -> Any:
    """Without the members that are null: Nomad writes out all that a job could have."""
    if isinstance(value, dict):
        return {name: _without_nothing(each) for name, each in value.items() if each is not None}
    return [_without_nothing(each) for each in value] if isinstance(value, list) else value
