"""Cancels, ends and marks are written for the job that was observed, and for no other."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from runner.drivers.driver import SET_ASIDE_SECONDS, LeaderRecord, Retention
from runner.drivers.nomad.driver import NomadDriver
from runner.drivers.nomad.variable import PREFIX, Ended, decode
from runner.jobs import JobSpec
from runner.observation import Observation, Outcome
from runner.outcomes import classify
from tests.conformance.jobs import cancellation, job
from tests.harness.deadlines import within
from tests.unit.drivers.nomad.agent import FakeAgent
from tests.unit.drivers.nomad.test_observation import CLONED, event, terminated

FAILED = Outcome(reason="analyzer_failed", code=5107, hmessage="The analyzer ended with an error.")
GONE = Outcome(reason="deleted", code=5109, hmessage="")
CANCELLED = Outcome(reason="cancelled", code=5000, hmessage="")
LIMIT = Outcome(reason="unschedulable", code=5102, hmessage="No node.", err="memory exhausted")


def find(driver: NomadDriver, wanted: JobSpec | str, place: str = "default") -> Observation:
    name = wanted if isinstance(wanted, str) else wanted.name
    asked = Observation(name=name, driver="nomad", pool="", phase="waiting", created=0, place=place)
    seen = driver.find(asked)
    assert seen is not None
    return seen


def submitted(driver: NomadDriver, wanted: JobSpec | None = None) -> JobSpec:
    wanted = wanted or job("shell", init="true")
    assert driver.submit(wanted, within(10, driver._clock)) == "created"
    return wanted


def ended(driver: NomadDriver, agent: FakeAgent, exit_code: int = 3, *, dead: bool = True) -> JobSpec:
    wanted = submitted(driver)
    events = [event("Started"), terminated(exit_code)]
    status = ("complete" if exit_code == 0 else "failed") if dead else "running"
    agent.allocate(
        wanted.name, status, dead=dead, coat=("dead", False, CLONED), marvin=("dead", exit_code != 0, events)
    )
    return wanted


def cancel(driver: NomadDriver, name: str, *, tombstone: bool = True) -> str | None:
    return driver.cancel(cancellation(name), within(10, driver._clock), tombstone=tombstone)


def test_an_observation_names_its_place_and_the_nonce_of_its_submit(driver: NomadDriver, agent: FakeAgent) -> None:
    wanted = submitted(driver)
    seen = find(driver, wanted)
    assert (seen.place, seen.identity) == ("default", agent.items(wanted.name)["orchestrator_nonce"])
    (listed,) = driver.list()
    assert (listed.place, listed.identity) == (seen.place, seen.identity)
    assert len(seen.identity) == 16


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("close", ["mark", "end", "cancel"])
def test_a_closed_variable_keeps_the_nonce_of_the_job(
    driver: NomadDriver, agent: FakeAgent, close: str, repeated: bool
) -> None:
    """Also where a repeat had taken over the Variable before the job arrived, and died before it corrected that."""
    wanted = submitted(driver)
    if repeated:
        agent.items(wanted.name)["orchestrator_nonce"] = "0123456789abcdef"
    before = find(driver, wanted)
    if close == "mark":
        assert driver.mark_reported(before, FAILED)
    if close == "end":
        assert driver.end(before, LIMIT)
    if close == "cancel":
        cancel(driver, wanted.name)
    assert find(driver, wanted).identity == before.identity
    del agent.jobs[("default", wanted.name)]
    assert find(driver, wanted).identity == before.identity


class TestMark:
    def test_it_is_recorded_once(self, driver: NomadDriver, agent: FakeAgent) -> None:
        wanted = ended(driver, agent)
        seen = find(driver, wanted)
        assert driver.mark_reported(seen, FAILED)
        count = len(agent.writes())
        assert driver.mark_reported(seen, FAILED)
        assert len(agent.writes()) == count
        again = find(driver, wanted)
        assert (again.reported, again.published) == (True, "analyzer_failed")

    @pytest.mark.parametrize("act", ["mark_reported", "set_aside", "end"])
    def test_a_job_made_anew_is_not_touched(self, driver: NomadDriver, agent: FakeAgent, act: str) -> None:
        """Its predecessor was removed, with its Variable, while its end was published."""
        wanted = ended(driver, agent)
        seen = find(driver, wanted)
        del agent.jobs[("default", wanted.name)], agent.variables[("default", PREFIX + wanted.name)]
        agent.allocations.clear()
        submitted(driver, wanted)
        count = len(agent.writes())
        assert getattr(driver, act)(seen, FAILED) is False
        assert len(agent.writes()) == count
        assert "orchestrator_open" in agent.items(wanted.name)

    def test_a_name_that_is_free_is_not_marked(self, driver: NomadDriver, agent: FakeAgent) -> None:
        seen = find(driver, ended(driver, agent))
        agent.jobs.clear()
        agent.variables.clear()
        assert driver.mark_reported(seen, FAILED) is False
        assert driver.end(seen, FAILED) is False
        assert agent.variables == {}

    def test_a_cancel_that_came_after_the_observation_is_not_marked(
        self, driver: NomadDriver, agent: FakeAgent
    ) -> None:
        wanted = ended(driver, agent)
        seen = find(driver, wanted)
        cancel(driver, wanted.name)
        assert driver.mark_reported(seen, FAILED) is False
        again = find(driver, wanted)
        assert (again.reported, again.cancelled) == (False, True)
        assert driver.mark_reported(again, CANCELLED)

    def test_a_cancel_between_reading_and_writing_is_not_marked(self, driver: NomadDriver, agent: FakeAgent) -> None:
        wanted = ended(driver, agent)
        seen = find(driver, wanted)

        def before(method: str, path: str) -> None:
            if method == "POST" and path.startswith("var/"):
                agent.before = lambda _method, _path: None
                cancel(driver, wanted.name)

        agent.before = before
        assert driver.mark_reported(seen, FAILED) is False
        assert find(driver, wanted).cancelled

    def test_a_variable_that_release_0_1_closed_is_marked_by_its_fingerprint(
        self, driver: NomadDriver, agent: FakeAgent
    ) -> None:
        """It dropped the nonce: with its job the identity is the job's nonce, without the job it is empty."""
        wanted = ended(driver, agent)
        nonce = agent.items(wanted.name).pop("orchestrator_nonce")
        with_its_job = find(driver, wanted)
        del agent.jobs[("default", wanted.name)], agent.items(wanted.name)["orchestrator_open"]
        alone = find(driver, wanted)
        assert (with_its_job.identity, alone.identity) == (nonce, "")
        assert driver.mark_reported(msgspec.structs.replace(alone, fingerprint="another"), GONE) is False
        assert driver.mark_reported(alone, GONE)

    def test_one_that_atlas_refuses_is_kept_for_seven_days(self, driver: NomadDriver, agent: FakeAgent) -> None:
        wanted = ended(driver, agent)
        assert driver.set_aside(find(driver, wanted), FAILED)
        seen = find(driver, wanted)
        assert (seen.reported, seen.published) == (True, "")
        agent.jobs.clear()
        agent.clock.advance(SET_ASIDE_SECONDS - 60)
        assert driver.reconcile(Retention(0, 0)) == 0
        agent.clock.advance(120)
        assert driver.reconcile(Retention(10 * SET_ASIDE_SECONDS, 10 * SET_ASIDE_SECONDS)) == 1


class TestEnd:
    def test_the_outcome_is_stored_before_the_job_is_stopped(self, driver: NomadDriver, agent: FakeAgent) -> None:
        wanted = submitted(driver)
        assert driver.end(find(driver, wanted), LIMIT)
        assert agent.writes()[-2:] == [f"POST var/{PREFIX}{wanted.name}", f"DELETE job/{wanted.name}"]
        assert find(driver, wanted).ended_as == LIMIT
        assert driver.submit(wanted, within(10, agent.clock)) == "exists"

    def test_the_first_outcome_stays(self, driver: NomadDriver, agent: FakeAgent) -> None:
        wanted = submitted(driver)
        seen = find(driver, wanted)
        assert driver.end(seen, LIMIT)
        agent.jobs[("default", wanted.name)]["Stop"] = False  # the first one crashed before this
        assert not driver.end(seen, FAILED)
        assert find(driver, wanted).ended_as == LIMIT
        assert agent.jobs[("default", wanted.name)]["Stop"]

    def test_a_cancelled_job_is_stopped_and_stays_only_cancelled(self, driver: NomadDriver, agent: FakeAgent) -> None:
        wanted = submitted(driver)
        seen = find(driver, wanted)
        cancel(driver, wanted.name)
        agent.jobs[("default", wanted.name)]["Stop"] = False
        assert not driver.end(seen, LIMIT)
        again = find(driver, wanted)
        assert (again.cancelled, again.ended_as) == (True, None)
        assert agent.jobs[("default", wanted.name)]["Stop"]

    def test_a_cancel_after_the_driver_has_read_the_job_is_seen(self, driver: NomadDriver, agent: FakeAgent) -> None:
        wanted = submitted(driver)
        seen = find(driver, wanted)

        def cancelled_then_read(_: str, path: str) -> None:
            if path == f"job/{wanted.name}":
                agent.before = lambda _method, _path: None
                cancel(driver, wanted.name)

        agent.before = cancelled_then_read
        assert not driver.end(seen, LIMIT)
        again = find(driver, wanted)
        assert (again.cancelled, again.ended_as) == (True, None)

    def test_an_ended_job_that_nomad_has_removed_is_not_created_again(
        self, driver: NomadDriver, agent: FakeAgent
    ) -> None:
        wanted = submitted(driver)
        driver.end(find(driver, wanted), LIMIT)
        agent.jobs.clear()
        agent.clock.advance(60)
        assert driver.submit(wanted, within(10, agent.clock)) == "exists"
        assert agent.jobs == {}


class TestCancelAfterTheEnd:
    @pytest.mark.parametrize(("exit_code", "reason"), [(0, "succeeded"), (3, "analyzer_failed")])
    @pytest.mark.parametrize("dead", [True, False], ids=["dead", "its job still runs"])
    def test_it_stores_the_end_with_the_cancellation(
        self, driver: NomadDriver, agent: FakeAgent, exit_code: int, reason: str, dead: bool
    ) -> None:
        wanted = ended(driver, agent, exit_code, dead=dead)
        assert [cancel(driver, wanted.name), cancel(driver, wanted.name)] == ["exists", "exists"]
        seen = find(driver, wanted)
        assert seen.ended_as is not None
        assert (seen.cancelled, seen.reported, seen.published, seen.ended_as.reason) == (True, False, "", reason)
        outcome = classify(seen)
        assert outcome is not None
        assert outcome.code == 5001
        assert driver.submit(wanted, within(10, agent.clock)) == "exists"

    @pytest.mark.parametrize("removed", [False, True], ids=["with its job", "after Nomad removed it"])
    def test_it_clears_the_mark_and_keeps_what_was_published(
        self, driver: NomadDriver, agent: FakeAgent, removed: bool
    ) -> None:
        wanted = ended(driver, agent)
        driver.mark_reported(find(driver, wanted), FAILED)
        if removed:
            agent.jobs.clear()
        assert cancel(driver, wanted.name) == "exists"
        seen = find(driver, wanted)
        assert seen.ended_as is not None
        assert (seen.reported, seen.published, seen.ended_as.code) == (False, "analyzer_failed", 5107)
        driver.mark_reported(seen, msgspec.structs.replace(CANCELLED, code=5001))
        again = find(driver, wanted)
        assert (again.reported, again.published) == (True, "analyzer_failed")
        agent.clock.advance(60)
        agent.jobs.clear()
        assert driver.submit(wanted, within(10, agent.clock)) == "exists"
        assert agent.jobs == {}

    def test_of_a_job_that_passed_a_limit_it_names_the_limit(self, driver: NomadDriver, agent: FakeAgent) -> None:
        wanted = submitted(driver)
        agent.allocate(wanted.name, "running", marvin=("running", False, [event("Started")]))
        agent.clock.advance(10_000)
        driver.reconcile()
        assert decode(agent.items(wanted.name)["orchestrator_ended"], Ended) == Ended(timed_out=True)
        assert cancel(driver, wanted.name) == "exists"
        seen = find(driver, wanted)
        assert seen.ended_as is not None
        assert seen.ended_as.reason == "timed_out"

    def test_a_running_job_is_cancelled_and_has_no_end(self, driver: NomadDriver, agent: FakeAgent) -> None:
        wanted = submitted(driver)
        agent.allocate(wanted.name, "running", marvin=("running", False, [event("Started")]))
        assert [cancel(driver, wanted.name), cancel(driver, wanted.name)] == ["cancelled", "cancelled"]
        assert find(driver, wanted).ended_as is None
        assert driver.submit(wanted, within(10, agent.clock)) == "cancelled"


def test_one_cancellation_in_two_namespaces_is_marked_in_both(
    make_driver: Callable[..., NomadDriver], agent: FakeAgent
) -> None:
    driver = make_driver("ci", "night")
    assert cancel(driver, "analysis-1") == "cancelled"
    (seen,) = driver.list()
    assert seen.place == "ci"
    assert driver.mark_reported(seen, CANCELLED)
    assert [find(driver, "analysis-1", place).reported for place in ("ci", "night")] == [True, True]


class TestFind:
    def test_a_name_that_is_free_is_none(self, driver: NomadDriver) -> None:
        asked = Observation(name="a", driver="nomad", pool="", phase="waiting", created=0, place="default")
        assert driver.find(asked) is None

    def test_a_removed_job_is_gone_with_its_identity(self, driver: NomadDriver, agent: FakeAgent) -> None:
        wanted = submitted(driver)
        before = find(driver, wanted)
        agent.jobs.clear()
        seen = find(driver, wanted)
        assert (seen.phase, seen.identity) == ("gone", before.identity)

    def test_a_submit_in_progress_is_incomplete(
        self, make_driver: Callable[..., NomadDriver], agent: FakeAgent
    ) -> None:
        wanted = submitted(make_driver())
        agent.jobs.clear()  # not registered yet
        seen = find(make_driver(), wanted)
        assert (seen.phase, seen.incomplete) == ("waiting", True)


def test_explain_reads_why_no_node_takes_the_job(driver: NomadDriver, agent: FakeAgent) -> None:
    wanted = submitted(driver)
    metric = {"NodesEvaluated": 2, "DimensionExhausted": {"memory": 2}}
    agent.evaluations[wanted.name] = [{"Status": "complete", "FailedTGAllocs": {"job": metric}}]
    assert "memory exhausted on 2" in driver.explain(find(driver, wanted)).unschedulable
    agent.allocate(wanted.name, "running", marvin=("running", False, [event("Started")]))
    assert driver.explain(find(driver, wanted)).unschedulable == ""


def test_a_variable_that_was_missing_gets_the_nonce_of_its_job(driver: NomadDriver, agent: FakeAgent) -> None:
    """Somebody deleted it, and the request is repeated: a mark by the job's identity must still be possible."""
    wanted = ended(driver, agent)
    (before,) = driver.list()
    agent.variables.clear()
    assert driver.submit(wanted, within(10, agent.clock)) == "exists"
    (seen,) = driver.list()
    assert seen.identity == before.identity == find(driver, wanted).identity
    assert driver.mark_reported(seen, FAILED)


def test_a_variable_that_a_repeat_took_over_gets_the_nonce_of_its_job_from_the_next_one(
    driver: NomadDriver, agent: FakeAgent
) -> None:
    """The job arrived late, and the repeat died before it corrected the Variable. Nomad may remove the job unseen."""
    wanted = submitted(driver)
    nonce = agent.items(wanted.name)["orchestrator_nonce"]
    agent.items(wanted.name)["orchestrator_nonce"] = "0123456789abcdef"
    assert driver.submit(wanted, within(10, agent.clock)) == "exists"
    assert agent.items(wanted.name)["orchestrator_nonce"] == nonce
    assert agent.items(wanted.name)["orchestrator_open"] == "yes"


class TestElection:
    def test_one_writer_wins_and_the_version_is_the_index(self, driver: NomadDriver) -> None:
        store, deadline = driver.election(), within(5, driver._clock)
        assert store.read(deadline) is None
        first = store.write("one", "", deadline)
        assert store.write("two", "", deadline) is None
        assert store.read(deadline) == LeaderRecord("one", first)
        assert first is not None
        second = store.write("one", first, deadline, ("a-result", "another"))
        assert store.read(deadline) == LeaderRecord("one", second, ("a-result", "another"))
        assert second not in (None, first)
        assert store.write("two", first, deadline) is None
        assert store.where == "Variable orchestrator/tracker in namespace default"
