"""Records jobs as Nomad returns them, and the items of their Variables after the submit and at the end."""

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
"""Incomplete, never repeated, and reported as deleted."""
HALF_CANCELLED = State(name="half-cancelled", request_type="analysis_run", main=states._ENDLESS, reaches="running")
"""Its Variable is closed; the process that cancelled it was killed before it stopped the job."""


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
    driver, held_driver = (release.nomad_driver(each, states.secrets) for each in (config, held))
    recording = Recording(driver, held_driver, config, held, "shell")
    variables: dict[str, list[dict[str, str]]] = {}
    recording.submitted = lambda name: variables.setdefault(name, []).append(_items(nomad, name))
    for state in STATES:
        recording.play(state)
    _half_cancelled(recording, config)
    for state in (HALF_MADE, DELETED):
        _half_made(recording, state, config)
    variables_then = {name: list(found) for name, found in variables.items()}
    jobs = {each["ID"]: _job(nomad.get(f"job/{each['ID']}")) for each in nomad.get("jobs")}
    listed = recording.listed()  # last, since it may stop the half-cancelled job
    placeholders = {nomad.namespace: "{namespace}"}
    return {"placeholders": placeholders, "states": _states(nomad, recording, listed, variables_then, jobs)}


def _states(nomad: Nomad, recording: Recording, listed: Any, variables: Any, jobs: Any) -> dict[str, Any]:
    states_found = {}
    for state, name in recording.names.items():
        first, last = variables.get(name, []), _items(nomad, name)
        written = [*first, last] if not first or first[-1] != last else first
        states_found[state] = {**listed[state], "variables": written, "specification": jobs.get(name)}
    return states_found


def _half_made(recording: Recording, state: State, config: Any) -> None:
    """A Variable without a job."""
    cut = Cut(lambda method, path: (method, path) == ("POST", "jobs"))
    driver = release.nomad_driver(config, states.secrets, cut.wrap)
    planned = states.job(state, config, "shell")
    recording.names[state.name] = planned.name
    cut.expect_death(lambda: driver.submit(planned, release.after(states.SECONDS)))
    if state is DELETED:
        recording.submitted(planned.name)
        driver.mark_reported(planned.name, release.Outcome(reason="deleted", code=5109, hmessage="It was deleted."))


def _half_cancelled(recording: Recording, config: Any) -> None:
    """A closed Variable, and a job that still runs."""
    recording.play(HALF_CANCELLED)
    cut = Cut(lambda method, path: method == "DELETE" and path.startswith("job/"))
    driver = release.nomad_driver(config, states.secrets, cut.wrap)
    cancellation = states.action("cancel_check_run", states.cancellation_document(HALF_CANCELLED), config)
    cut.expect_death(lambda: driver.cancel(cancellation, release.after(states.SECONDS), tombstone=True))


def _items(nomad: Nomad, name: str) -> dict[str, str]:
    items: dict[str, str] = nomad.get(f"var/nomad/jobs/{name}")["Items"]
    return items


def _job(job: dict[str, Any]) -> Any:
    return _without_nulls({name: value for name, value in job.items() if name not in _OF_THE_SERVER})


def _without_nulls(value: Any) -> Any:
    """The value without members that are null: Nomad returns every member that a job could have."""
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value
