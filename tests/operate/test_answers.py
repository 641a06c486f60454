"""What `jobs show` and `jobs explain` say of atlas's last answer: from the job, or the tracker's health file."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runner.cli.answers import last_answer
from runner.cli.explaining import lines
from runner.cli.known import moment
from runner.config.types import Config
from runner.jobs import Report
from runner.observation import Observation
from runner.runtime.backoff import Backoff
from runner.tracker.health import HEALTH_VARIABLE, MOST_SHOWN, Heartbeat, UnacceptedResult, unaccepted
from runner.tracker.ledger.record import Record
from tests.harness.clock import ManualClock
from tests.unit.tracker.world import World

REPORT = Report(request_type="analysis_run", run_id="r-1", path="/p", task="t", scope="s")
FAILED = Observation(
    name="j", driver="d", place="ci", pool="p", phase="failed", created=0.0, identity="1", main_exit=3, report=REPORT
)
ENTRY = UnacceptedResult(
    name="j", place="ci", identity="1", tries=7, answer="503: down for maintenance", next_attempt=1_800_000_000.0
)


def changed(**facts: Any) -> Observation:
    return msgspec.structs.replace(FAILED, **facts)


@pytest.fixture
def health(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the tracker's health file, which is not there yet."""
    path = tmp_path / "health"
    monkeypatch.setenv(HEALTH_VARIABLE, str(path))
    return path


def write(path: Path, *entries: UnacceptedResult, leads: bool = True) -> None:
    Heartbeat(str(path), ManualClock()).beat({"d": {"leads": leads, "stale": [], "refused": entries}})


def test_a_pending_result_that_was_refused(health: Path, config: Config) -> None:
    write(health, ENTRY)
    said = last_answer(config, FAILED)
    assert said == (
        f"Its last answer: 503: down for maintenance. Sent 7 time(s) so far; next not before {moment(1_800_000_000.0)}."
    )
    assert said in "\n".join(lines(FAILED, config.limits, said))


@pytest.mark.parametrize("other", [{"name": "k"}, {"place": "cd"}, {"identity": "2"}])
def test_another_job_s_answer_is_not_taken(other: dict[str, str], health: Path, config: Config) -> None:
    write(health, ENTRY)
    assert last_answer(config, changed(**other)) == "It has not refused it so far."


def test_where_to_ask_if_the_file_is_not_here(health: Path, config: Config) -> None:
    assert str(health) in last_answer(config, FAILED)
    health.write_text("{")
    assert str(health) in last_answer(config, FAILED)
    write(health, ENTRY, leads=False)
    assert "does not lead" in last_answer(config, FAILED)


def test_the_file_of_this_host_is_beside_the_socket(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(HEALTH_VARIABLE, raising=False)
    here = msgspec.structs.replace(config, sidecar=msgspec.structs.replace(config.sidecar, socket=f"{tmp_path}/s"))
    write(tmp_path / "s.tracker.health", ENTRY)
    assert "503" in last_answer(here, FAILED)


def test_a_job_that_was_set_aside_has_the_answer_itself(health: Path, config: Config) -> None:
    aside = changed(reported=True, set_aside=True, answer="422: there is no such run")
    said = last_answer(config, aside)
    assert said == "Its last answer: 422: there is no such run."
    assert "jobs resend j" in "\n".join(lines(aside, config.limits, said))
    assert "earlier release" in last_answer(config, msgspec.structs.replace(aside, answer=""))


@pytest.mark.parametrize(
    "facts", [{"reported": True}, {"phase": "running", "main_exit": None}, {"phase": "succeeded", "main_exit": 0}]
)
def test_nothing_is_said_where_there_is_no_result_to_send(facts: dict[str, Any], health: Path, config: Config) -> None:
    assert last_answer(config, changed(**facts)) == ""


def test_the_tracker_writes_what_was_refused(config: Config, sample: Any) -> None:
    world = World(config)
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    world.inbox.refuse(503)
    world.run(60)
    (entry,) = world.statuses[-1]["memory"]["refused"]
    assert (entry.name, entry.identity) == (job.name, world.seen(job.name).identity)
    assert entry.answer == "atlas answered 503"
    assert entry.tries == len(world.inbox.attempts) > 3
    assert 0 < entry.next_attempt - world.clock.wall() < 40

    world.inbox.accept()
    world.run(60)
    assert world.statuses[-1]["memory"]["refused"] == []


def test_a_result_that_is_set_aside_takes_the_answer_along(config: Config, sample: Any) -> None:
    world = World(config)
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    world.inbox.refuse(422)
    world.run(1000)
    assert (world.seen(job.name).set_aside, world.seen(job.name).answer) == (True, "atlas answered 422")


def test_the_list_is_bounded_to_the_oldest() -> None:
    records = [
        Record(
            seen=changed(name=f"j-{number}"),
            first_seen=0.0,
            backoff=Backoff(1.0, 2.0, lambda: 0.5),
            steps=deque(["publish"]),
            decided_at=float(number),
            answer="503",
        )
        for number in range(MOST_SHOWN + 10)
    ]
    found = unaccepted(reversed(records), ManualClock())
    assert [each.name for each in found] == [f"j-{number}" for number in range(MOST_SHOWN)]
