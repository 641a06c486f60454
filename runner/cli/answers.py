"""What atlas answered to a job's result, from the job itself or from the tracker's health file."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from runner.cli.known import moment
from runner.config.types import Config
from runner.observation import Observation
from runner.outcomes import classify
from runner.tracker.health import HEALTH_VARIABLE, UnacceptedResult, health_file
from runner.tracker.results import result_ids

REFUSED = "Its last answer"
"""The beginning of the sentence if atlas has refused the result."""


class _DriverStatus(msgspec.Struct, frozen=True):
    """What the file says about one driver, as far as it is needed here."""

    leads: bool = False
    refused: tuple[UnacceptedResult, ...] = ()


def last_answer(config: Config, seen: Observation) -> str:
    """What atlas answered last, how often the result was sent, and when it is sent next; empty if that does not matter.

    Only the tracker knows this of a result that is pending. Where its file cannot be read, that is said.
    """
    if seen.set_aside:
        return f"{REFUSED}: {seen.answer or 'not stored; an earlier release set the job aside'}."
    outcome = classify(seen)
    if outcome is None or seen.reported or not result_ids(seen, outcome):
        return ""
    path = Path(os.environ.get(HEALTH_VARIABLE) or health_file(config.sidecar.socket))
    if (status := _read(path, seen.driver)) is None:
        return f"The tracker knows its answers: ask where it runs, and as its user. It writes them to {path}."
    if not status.leads:
        return "The tracker on this host does not lead. Ask where the leader runs."
    key = (seen.name, seen.place, seen.identity)
    for each in status.refused:
        if (each.name, each.place, each.identity) == key:
            at = moment(each.next_attempt)
            return f"{REFUSED}: {each.answer}. Sent {each.tries} time(s) so far; next not before {at}."
    return "It has not refused it so far."


def _read(path: Path, driver: str) -> _DriverStatus | None:
    """The status of one driver's tracker; None if the file cannot be read, or is of another release."""
    try:
        statuses = msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw])
        return msgspec.json.decode(statuses[driver], type=_DriverStatus)
    except (OSError, KeyError, msgspec.MsgspecError):
        return None
