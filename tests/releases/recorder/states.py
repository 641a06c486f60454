"""The states of jobs to record for every driver. Requests and programs of one line of shell bring a job into each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
from recorder import release

from runner.jobs import Resources, Secret, SecretRef
from tests.unit import documents

SECONDS = 60.0
"""The limit for each step of a recording."""

_SMALL = Resources(cpu=50, memory=32)
_SAMPLES = {"analysis_run": "analysis", "autofix_run": "autofix"}
_ENDLESS = "trap 'exit 143' TERM INT; sleep 3000 & wait"


class State(msgspec.Struct, frozen=True, kw_only=True):
    """One job, and what happens to it."""

    name: str
    request_type: str
    init: str = ""
    """A line of shell for the init container; empty for none."""
    main: str = ""
    """A line of shell for the main container; empty for the job exactly as planned, which is never scheduled."""
    reaches: Literal["", "running", "ended"] = ""
    cancelled: Literal["", "before", "after"] = ""
    """Before the submit, or once the job is in the state `reaches`."""
    marked: bool = False
    """Whether its end was reported."""
    sampled: bool = False
    """Whether its request is one of the samples in `examples/`; else it has every field of the contract."""


STATES = (
    State(name="succeeded", request_type="analysis_run", main="exit 0", reaches="ended", sampled=True),
    State(name="verified", request_type="ssh_verify_run", main="exit 11", reaches="ended"),
    State(
        name="main-failed", request_type="autofix_run", main="echo no such rule; exit 3", reaches="ended", sampled=True
    ),
    State(name="init-failed", request_type="transformer_run", init="exit 7", main="exit 0", reaches="ended"),
    State(name="patch-failed", request_type="patcher_run", main="exit 2", reaches="ended"),
    State(name="reported", request_type="analysis_run", main="exit 4", reaches="ended", marked=True),
    State(name="cancelled-running", request_type="analysis_run", main=_ENDLESS, reaches="running", cancelled="after"),
    State(name="tombstone", request_type="analysis_run", cancelled="before"),
    State(name="reported-tombstone", request_type="analysis_run", cancelled="before", marked=True),
    State(name="running", request_type="analysis_run", main=_ENDLESS, reaches="running"),
    State(name="cancelled-waiting", request_type="analysis_run", cancelled="after"),
    State(name="waiting-analysis", request_type="analysis_run"),
    State(name="waiting-autofix", request_type="autofix_run"),
    State(name="waiting-transformer", request_type="transformer_run"),
    State(name="waiting-ssh-verify", request_type="ssh_verify_run"),
    State(name="waiting-patcher", request_type="patcher_run"),
)
"""In the order that a host with one slot needs: jobs that end, the endless job, jobs that wait for its slot."""

HALF_MADE = State(name="half-made", request_type="analysis_run", main="exit 0")
"""A job whose submitter was killed during the submit. Each driver's recorder decides at which step."""


def document(state: State) -> dict[str, Any]:
    """The request of a state."""
    whole = documents.whole(state.request_type)
    if state.sampled:
        whole = json.loads(Path("examples", f"{_SAMPLES[state.request_type]}.json").read_bytes())
    return {**whole, "run_id": f"r-{state.name}"}


def cancellation_document(state: State) -> dict[str, Any]:
    """The request that cancels an analysis."""
    analysis = document(state)
    return {
        "analysis_meta": {
            "run_id": analysis["run_id"],
            "run_serial": analysis["run_serial"],
            "check_seq": analysis["checks"][0]["check_seq"],
        },
        "run_id": f"c-{state.name}",
        "run_serial": "2",
    }


def action(request_type: str, content: dict[str, Any], config: Any) -> Any:
    """The one action that the release plans for a request."""
    policy = release.Policy(runner_id="runner-1", public_key="")
    request = release.decode(json.dumps(content).encode(), release.request_types[request_type], policy)
    (planned,) = release.plan(request, config)
    return planned


def job(state: State, config: Any, image: str) -> Any:
    """The job of a state. Its programs fail without its secrets, as real ones do."""
    planned = action(state.request_type, document(state), config)
    if not state.main:
        return planned
    secret = sorted(planned.secrets)[0]

    def running(container: Any, script: str) -> Any:
        return msgspec.structs.replace(
            container,
            image=image,
            command=("/bin/sh", "-c", f'test -n "${secret}" || exit 99; {script}', container.name),
            args=(),
            env=((secret, SecretRef(name=secret)),),
            requests=_SMALL,
            limits=_SMALL,
        )

    init = running(planned.init, state.init) if state.init else None
    return msgspec.structs.replace(planned, init=init, main=running(planned.main, state.main))


def secrets(planned: Any) -> dict[str, str]:
    """Values that are clearly fake."""
    return {
        name: secret.reveal() if isinstance(secret, Secret) else f"fake-token-of-{planned.name}"
        for name, secret in planned.secrets.items()
    }


def until(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of the condition."""
    end = time.monotonic() + SECONDS
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {SECONDS} s")
        time.sleep(0.2)
    return found


def seen(driver: Any, name: str) -> Any:
    """The job of that name, or None."""
    return next((each for each in release.listed(driver) if each.name == name), None)


class Recording:
    """Brings jobs of one driver into their states, and lists them."""

    def __init__(self, driver: Any, held: Any, config: Any, held_config: Any, image: str) -> None:
        """`held` is a driver whose pool can schedule no job; `held_config` is its configuration."""
        self._driver = driver
        self._held = held
        self._config = config
        self._held_config = held_config
        self._image = image
        self.names: dict[str, str] = {}
        """The jobs' names, by state."""
        self.submitted: Callable[[str], None] = lambda name: None
        """Called with the job's name after each submit."""

    def play(self, state: State) -> None:
        """Bring a job into the state."""
        driver, config = (self._driver, self._config) if state.main else (self._held, self._held_config)
        planned = job(state, config, self._image)
        self.names[state.name] = planned.name
        if state.cancelled == "before":
            self._cancel(driver, state)
        else:
            driver.submit(planned, release.after(SECONDS))
            self.submitted(planned.name)
        if state.reaches == "running":
            until(lambda: seen(driver, planned.name).phase == "running", f"{state.name} runs")
        if state.cancelled == "after":
            self._cancel(driver, state)
        if state.reaches == "ended" or state.cancelled:
            until(lambda: release.classify(seen(driver, planned.name)), f"{state.name} ends")
        if state.marked:
            release.mark(driver, seen(driver, planned.name))

    def _cancel(self, driver: Any, state: State) -> None:
        cancellation = action("cancel_check_run", cancellation_document(state), self._config)
        driver.cancel(cancellation, release.after(SECONDS), tombstone=True)

    def listed(self) -> dict[str, Any]:
        """By state: the job's observation in this release, and the result that it would publish."""
        observations = {each.name: each for each in release.listed(self._driver)}
        return {state: _described(name, observations.get(name)) for state, name in self.names.items()}


_VARYING = ("created", "ended", "message", "log_tail", "image_error", "unschedulable")
"""The fields of an observation that differ in each run, or are texts of a cluster."""


def _described(name: str, observed: Any) -> dict[str, Any]:
    if observed is None:
        return {"job": name, "observation": None, "result": None}
    outcome = release.classify(observed)
    published = release.result(observed, outcome) if outcome and not observed.reported else None
    fields = msgspec.to_builtins(observed)
    return {
        "job": name,
        "observation": {field: value for field, value in fields.items() if field not in _VARYING},
        "result": msgspec.to_builtins(published),
    }
