"""What a namespace's sources show, and what that costs in requests."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import pytest

from runner.drivers.nomad.driver import NomadDriver
from runner.drivers.nomad.listing import EVIDENCE_LINES, KILL_SECONDS
from runner.drivers.nomad.source import REFUSED_SECONDS, RESYNC_SECONDS, JobSource
from runner.drivers.nomad.variable import PREFIX
from runner.drivers.nomad.variable_source import VariableSource
from runner.errors import OrchestratorError, Timeout, Unavailable
from runner.observation import Observation
from runner.outcomes import classify
from tests.unit.drivers.nomad.agent import OVER, SILENT, FakeAgent, line
from tests.unit.drivers.nomad.test_guards import CANCELLED, FAILED, cancel, ended, find, submitted
from tests.unit.drivers.nomad.test_observation import CLONED, event, terminated

STARTED = event("Started")


class RecordingView:
    """Keeps what it is shown, and what happened as lines of text."""

    def __init__(self) -> None:
        self.jobs: dict[tuple[str, str], Observation] = {}
        self.happened: list[str] = []

    def replace(self, place: str, listed: Iterable[Observation]) -> None:
        self.jobs = {key: seen for key, seen in self.jobs.items() if key[0] != place}
        self.jobs |= {(each.place, each.name): each for each in listed}
        self.happened.append("replace")

    def update(self, seen: Observation) -> None:
        self.jobs[(seen.place, seen.name)] = seen
        self.happened.append(f"update {seen.phase}")

    def left(self, seen: Observation) -> None:
        self.jobs.pop((seen.place, seen.name), None)
        self.happened.append("left")

    def alive(self) -> None:
        self.happened.append("alive")

    def names(self) -> set[str]:
        return {name for _, name in self.jobs}


@pytest.fixture
def view() -> RecordingView:
    return RecordingView()


@pytest.fixture
def sources(driver: NomadDriver) -> tuple[JobSource, VariableSource]:
    jobs, variables = driver.sources()
    assert isinstance(jobs, JobSource)
    assert isinstance(variables, VariableSource)
    return jobs, variables


@pytest.fixture
def source(sources: tuple[JobSource, VariableSource], agent: FakeAgent, view: RecordingView) -> JobSource:
    """A source whose stream has been accepted."""
    stream(agent, sources[0], view)
    view.happened.clear()
    agent.asked.clear()
    return sources[0]


Step = bytes | Callable[[], object] | Exception


def stream(agent: FakeAgent, source: JobSource, view: RecordingView, *steps: Step) -> None:
    """One session that ends when its time is up: the empty line, then these steps."""

    def sent() -> Iterator[Step]:
        yield line()
        yield from steps
        agent.clock.advance(RESYNC_SECONDS + 1)
        yield OVER

    if not source._accepted:
        agent.lines = iter([line()])
        assert source._stream_refusal() == ""
        source._accepted = True
    agent.lines = sent()
    source.follow(view)


def reads(agent: FakeAgent, name: str) -> Counter[str]:
    """How often the job's Variable, the job and its allocations were read."""
    return Counter(each.replace(name, "NAME") for each in agent.asked if name in each and each.startswith("GET"))


def test_a_session_lists_after_the_first_line_of_the_stream(
    driver: NomadDriver, agent: FakeAgent, source: JobSource, view: RecordingView
) -> None:
    wanted = submitted(driver)
    agent.asked.clear()
    stream(agent, source, view)
    assert [each.partition("?")[0] for each in agent.asked] == [
        "STREAM /v1/event/stream", "GET vars", "GET jobs", "GET allocations",
    ]  # fmt: skip
    assert "namespace=default&topic=Job%3A%2A&topic=Allocation%3A%2A&topic=Evaluation%3A%2A" in agent.asked[0]
    assert view.names() == {wanted.name}
    assert view.happened[-2:] == ["replace", "alive"]


def test_an_end_is_shown_by_its_event(
    driver: NomadDriver, agent: FakeAgent, source: JobSource, view: RecordingView
) -> None:
    wanted = submitted(driver)

    def ends() -> Iterator[Step]:
        yield line()
        states = {"coat": ("dead", False, CLONED), "marvin": ("dead", True, [STARTED, terminated(3)])}
        yield line(agent.allocate(wanted.name, "running", **states))
        yield SILENT

    agent.lines = ends()
    with pytest.raises(Unavailable):
        source.follow(view)
    assert view.happened[-1] == "update failed"
    assert view.jobs["default", wanted.name].log_tail == ""  # a log may be on a node that does not answer
    assert not [each for each in agent.asked if "logs" in each]


def test_a_list_masks_a_key_whose_first_line_it_does_not_show(driver: NomadDriver, agent: FakeAgent) -> None:
    wanted = submitted(driver)
    states = {"coat": ("dead", False, CLONED), "marvin": ("dead", True, [STARTED, terminated(3)])}
    agent.allocate(wanted.name, "failed", **states)
    agent.jobs["default", wanted.name]["Status"] = "dead"
    shown = [f"line {number}" for number in range(EVIDENCE_LINES - 2)]
    agent.log = "\n".join(["-----BEGIN PRIVATE KEY-----", *["aB3+" * 4] * 10, *shown, ""]).encode()
    (seen,) = driver.list()
    assert seen.log_tail == "***"  # nobody knows where the key ends


def test_a_burst_of_events_of_one_job_causes_one_reading(
    driver: NomadDriver, agent: FakeAgent, source: JobSource, view: RecordingView
) -> None:
    wanted = submitted(driver)
    failed = {"coat": ("dead", False, CLONED), "marvin": ("dead", True, [STARTED, terminated(3)])}

    def burst() -> Iterator[Step]:
        yield line()
        agent.asked.clear()
        events = [agent.allocate(wanted.name, status, **failed) for status in ("running", "running", "failed")]
        events += [agent.job_event(wanted.name)]
        yield from (line(each) for each in events)
        yield line(agent.allocate(wanted.name, "failed", dead=True, **failed))
        yield SILENT

    agent.lines = burst()
    with pytest.raises(Unavailable):
        source.follow(view)
    assert reads(agent, wanted.name) == {f"GET var/{PREFIX}NAME": 1, "GET job/NAME": 1, "GET job/NAME/allocations": 1}


def test_a_stop_causes_one_reading_until_its_tasks_have_ended(
    driver: NomadDriver, agent: FakeAgent, source: JobSource, view: RecordingView
) -> None:
    """The events that follow it are older than what the reading has shown."""
    wanted = submitted(driver)
    killed = [STARTED, event("Killing"), terminated(143)]

    def stops() -> Iterator[Step]:
        yield line()
        cancel(driver, wanted.name)
        older = agent.allocate(wanted.name, "running", marvin=("running", False, killed))
        agent.asked.clear()
        yield line(agent.job_event(wanted.name))
        assert reads(agent, wanted.name)["GET job/NAME"] == 1
        yield line(older)
        yield line(agent.job_event(wanted.name))
        assert reads(agent, wanted.name)["GET job/NAME"] == 1
        assert view.jobs["default", wanted.name].cancelled
        yield line(agent.allocate(wanted.name, "complete", dead=True, marvin=("dead", False, killed)))
        assert reads(agent, wanted.name)["GET job/NAME"] == 2
        yield SILENT

    agent.lines = stops()
    with pytest.raises(Unavailable):
        source.follow(view)
    assert view.jobs["default", wanted.name].phase == "failed"


def test_a_start_is_shown_without_a_reading(
    driver: NomadDriver, agent: FakeAgent, source: JobSource, view: RecordingView
) -> None:
    wanted = submitted(driver)

    def starts() -> Iterator[Step]:
        yield line()
        agent.asked.clear()
        yield line(agent.allocate(wanted.name, "pending", marvin=("pending", False, [])))
        yield line(agent.allocate(wanted.name, "running", marvin=("running", False, [STARTED])))
        yield SILENT

    agent.lines = starts()
    with pytest.raises(Unavailable):
        source.follow(view)
    assert agent.asked == []
    assert view.jobs["default", wanted.name].phase == "running"


def test_a_new_job_is_shown_by_its_event_and_another_program_s_is_not(
    driver: NomadDriver, agent: FakeAgent, source: JobSource, view: RecordingView
) -> None:
    theirs = {"Topic": "Job", "Payload": {"Job": {"ID": "theirs", "Meta": None, "Status": "pending"}}}

    def registers() -> Iterator[Step]:
        agent.asked.clear()
        yield line()
        agent.asked.clear()
        yield line(theirs)
        assert agent.asked == []
        wanted = submitted(driver)
        agent.asked.clear()
        yield line(agent.job_event(wanted.name))
        yield line(agent.job_event(wanted.name))
        assert agent.asked == []  # the event has all that three requests would show
        assert view.jobs["default", wanted.name] == find(driver, wanted.name)
        yield SILENT

    agent.lines = registers()
    with pytest.raises(Unavailable):
        source.follow(view)


def test_an_old_registration_that_a_new_stream_repeats_shows_no_job(
    driver: NomadDriver, agent: FakeAgent, source: JobSource, view: RecordingView
) -> None:
    """Each stream begins with the events that Nomad has kept. The listing has shown what became of their jobs."""
    reported, removed = submitted(driver), submitted(driver)
    old = [agent.job_event(each.name) for each in (reported, removed)]
    agent.allocate(reported.name, "failed", dead=True, marvin=("dead", True, [STARTED, terminated(3)]))
    driver.mark_reported(find(driver, reported), FAILED)
    del agent.jobs["default", removed.name], agent.variables["default", PREFIX + removed.name]
    stream(agent, source, view, *(line(each) for each in old))
    assert view.happened == ["replace", "alive"]


@pytest.mark.parametrize("change", [{"ModifyIndex": 999}, {"Status": "running"}, {"Status": "dead"}, {"Stop": True}])
def test_a_job_to_which_something_has_happened_is_read_at_its_first_event(
    driver: NomadDriver, agent: FakeAgent, source: JobSource, view: RecordingView, change: dict[str, object]
) -> None:
    def changes() -> Iterator[Step]:
        yield line()
        wanted = submitted(driver)
        agent.jobs["default", wanted.name] |= change
        agent.asked.clear()
        yield line(agent.job_event(wanted.name))
        assert reads(agent, wanted.name) == {
            f"GET var/{PREFIX}NAME": 1, "GET job/NAME": 1, "GET job/NAME/allocations": 1,
        }  # fmt: skip
        yield SILENT

    agent.lines = changes()
    with pytest.raises(Unavailable):
        source.follow(view)


def test_an_evaluation_that_found_no_node_explains_the_wait(
    driver: NomadDriver, agent: FakeAgent, source: JobSource, view: RecordingView
) -> None:
    wanted = submitted(driver)
    metric = {"NodesEvaluated": 2, "DimensionExhausted": {"memory": 2}}
    evaluation = {"JobID": wanted.name, "FailedTGAllocs": {"job": metric}}
    stream(agent, source, view, line({"Topic": "Evaluation", "Payload": {"Evaluation": evaluation}}))
    assert "memory exhausted" in view.jobs["default", wanted.name].unschedulable
    stream(agent, source, view)  # a listing does not show it
    assert "memory exhausted" in view.jobs["default", wanted.name].unschedulable


@pytest.mark.parametrize("status", ["pending", "failed"])
def test_why_no_node_took_a_job_explains_nothing_once_one_has_it(
    driver: NomadDriver, agent: FakeAgent, source: JobSource, view: RecordingView, status: str
) -> None:
    wanted = submitted(driver)
    evaluation = {"JobID": wanted.name, "FailedTGAllocs": {"job": {"NodesEvaluated": 2}}}
    shortage = line({"Topic": "Evaluation", "Payload": {"Evaluation": evaluation}})
    stream(agent, source, view, shortage)
    assert view.jobs["default", wanted.name].unschedulable
    coat = ("dead", True, [event("Driver Failure", "Cannot connect to the Docker daemon", fails_task="true")])
    tasks = {"coat": coat} if status == "failed" else {}
    agent.allocate(wanted.name, status, dead=status == "failed", **tasks)
    stream(agent, source, view, shortage)
    seen = view.jobs["default", wanted.name]
    assert (seen.scheduled, seen.unschedulable) == (True, "")


@pytest.mark.parametrize("by", ["cancel", "limit"])
def test_a_job_that_its_node_cannot_kill_counts_as_ended_after_some_minutes(
    driver: NomadDriver, agent: FakeAgent, by: str
) -> None:
    wanted = submitted(driver)
    agent.allocate(wanted.name, "running", coat=("dead", False, CLONED), marvin=("running", False, [STARTED]))
    if by == "limit":
        agent.clock.advance(wanted.deadlines.total + 1)
    _ = driver.reconcile() if by == "limit" else cancel(driver, wanted.name)
    agent.jobs["default", wanted.name]["Status"] = "dead"
    for seen in (*driver.list(), find(driver, wanted)):
        assert (seen.phase, classify(seen)) == ("running", None)
    agent.clock.advance(KILL_SECONDS + 1)
    for seen in (*driver.list(), find(driver, wanted)):
        outcome = classify(seen)
        assert outcome is not None
        assert outcome.code == (5105 if by == "limit" else 5000)


def test_a_variable_of_a_restored_snapshot_is_read_although_its_index_is_lower(
    driver: NomadDriver, agent: FakeAgent
) -> None:
    wanted = submitted(driver)
    agent.index += 1000
    cancel(driver, wanted.name)
    assert [each.cancelled for each in driver.list()] == [True]
    stored = agent.variables["default", PREFIX + wanted.name]
    stored.update(
        ModifyIndex=stored["CreateIndex"] + 1, Items={**stored["Items"], "orchestrator_reported": "cancelled"}
    )
    assert [each.reported for each in driver.list()] == [True]


def test_a_quota_that_delays_a_job_is_the_reason_that_ends_it_too(
    driver: NomadDriver, agent: FakeAgent, source: JobSource, view: RecordingView
) -> None:
    wanted = submitted(driver)
    quota, full = {"QuotaExhausted": ["cpu"]}, {"NodesEvaluated": 2}
    evaluations = [{"JobID": wanted.name, "FailedTGAllocs": {"job": metric}} for metric in (full, quota)]
    events = [{"Topic": "Evaluation", "Payload": {"Evaluation": each}} for each in evaluations]
    stream(agent, source, view, *map(line, events))
    stream(agent, source, view)
    agent.evaluations[wanted.name] = evaluations
    for seen in (view.jobs["default", wanted.name], driver.explain(find(driver, wanted))):
        assert "quota: cpu" in seen.not_admitted
        assert seen.unschedulable == ""


def test_a_job_that_is_removed_is_gone(
    driver: NomadDriver, agent: FakeAgent, source: JobSource, view: RecordingView
) -> None:
    wanted = submitted(driver)
    stream(agent, source, view)

    def removed() -> Iterator[Step]:
        yield line()
        shown = agent.job_event(wanted.name)
        agent.jobs.clear()
        shown["Payload"]["Job"]["Stop"] = True
        yield line(shown)
        yield SILENT

    agent.lines = removed()
    with pytest.raises(Unavailable):
        source.follow(view)
    assert view.jobs["default", wanted.name].phase == "gone"


class TestReportedJobs:
    def test_they_are_left_out_and_never_read_again(
        self, driver: NomadDriver, agent: FakeAgent, source: JobSource, view: RecordingView
    ) -> None:
        names = [ended(driver, agent).name for _ in range(5)]
        for name in names:
            driver.mark_reported(find(driver, name), FAILED)
        stream(agent, source, view)
        assert view.names() == set()
        agent.asked.clear()
        stream(agent, source, view)
        assert [each for each in agent.asked if each.startswith("GET")] == ["GET vars", "GET jobs", "GET allocations"]

    def test_after_a_start_each_costs_one_reading_of_its_variable(
        self, make_driver: Callable[..., NomadDriver], agent: FakeAgent, view: RecordingView
    ) -> None:
        driver = make_driver()
        for _ in range(5):
            driver.mark_reported(find(driver, ended(driver, agent).name), FAILED)
        pending = submitted(driver)
        agent.asked.clear()
        restarted = make_driver().sources()[0]
        assert isinstance(restarted, JobSource)
        stream(agent, restarted, view)
        per_job = [each for each in agent.asked if "analysis-" in each]
        assert len(per_job) == 5
        assert all(each.startswith("GET var/") for each in per_job)
        assert view.names() == {pending.name}

    def test_a_job_that_is_reported_leaves_the_view(
        self, driver: NomadDriver, agent: FakeAgent, sources: tuple[JobSource, VariableSource], view: RecordingView
    ) -> None:
        jobs, variables = sources
        wanted = ended(driver, agent)
        variables.follow(view)
        stream(agent, jobs, view)
        assert view.names() == {wanted.name}
        driver.mark_reported(find(driver, wanted), FAILED)
        variables.follow(view)
        assert view.names() == set()
        assert view.happened[-1] == "left"


class TestVariables:
    """The event stream does not show Variables."""

    def test_a_tombstone_is_shown_by_the_change_of_its_variable(
        self, driver: NomadDriver, agent: FakeAgent, sources: tuple[JobSource, VariableSource], view: RecordingView
    ) -> None:
        variables = sources[1]
        variables.follow(view)
        cancel(driver, "analysis-1")
        variables.follow(view)
        assert view.jobs["default", "analysis-1"].cancelled
        assert variables.pause > 0

    def test_an_idle_namespace_costs_one_request(
        self, agent: FakeAgent, sources: tuple[JobSource, VariableSource], view: RecordingView
    ) -> None:
        variables = sources[1]
        variables.follow(view)
        agent.asked.clear()
        variables.follow(view)
        assert agent.asked == ["GET vars"]
        assert view.happened[-1] == "alive"
        assert variables.pause == 0.5  # the agent did not wait for a change

        def waits(_method: str, _path: str) -> None:
            agent.clock.advance(5)

        agent.before = waits
        variables.follow(view)
        assert variables.pause == 0

    def test_the_variable_of_a_submit_is_read_once_and_not_shown(
        self, driver: NomadDriver, agent: FakeAgent, sources: tuple[JobSource, VariableSource], view: RecordingView
    ) -> None:
        variables = sources[1]
        before = submitted(driver)
        variables.follow(view)
        wanted = submitted(driver)
        agent.asked.clear()
        variables.follow(view)
        assert reads(agent, wanted.name) == {f"GET var/{PREFIX}NAME": 1}
        assert not reads(agent, before.name)
        assert view.names() == set()

    def test_the_first_write_for_a_job_that_is_shown_is_not_read_and_a_later_one_is(
        self, driver: NomadDriver, agent: FakeAgent, sources: tuple[JobSource, VariableSource], view: RecordingView
    ) -> None:
        jobs, variables = sources
        submitted(driver)
        variables.follow(view)
        wanted = submitted(driver)
        stream(agent, jobs, view)
        agent.asked.clear()
        variables.follow(view)
        assert not reads(agent, wanted.name)
        cancel(driver, wanted.name)
        variables.follow(view)
        assert view.jobs["default", wanted.name].cancelled

    def test_one_cancellation_in_two_namespaces_is_shown_once(
        self, make_driver: Callable[..., NomadDriver], agent: FakeAgent, view: RecordingView
    ) -> None:
        driver = make_driver("ci", "night")
        first, first_variables, second, second_variables = driver.sources()
        for each in (first_variables, second_variables):
            each.follow(view)
        cancel(driver, "analysis-1")
        for each in (first_variables, second_variables):
            each.follow(view)
        for each in (first, second):
            assert isinstance(each, JobSource)
            stream(agent, each, view)
        assert list(view.jobs) == [("ci", "analysis-1")]
        assert driver.mark_reported(view.jobs["ci", "analysis-1"], CANCELLED)


class TestRefused:
    @pytest.mark.parametrize("lines", [[], [SILENT], [Timeout("the deadline passed")]], ids=["end", "silence", "time"])
    def test_a_stream_without_a_line_is_replaced_by_listings(
        self,
        driver: NomadDriver,
        agent: FakeAgent,
        view: RecordingView,
        lines: list[Step],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        wanted = submitted(driver)
        source = driver.sources()[0]
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                agent.lines = iter(lines)
                source.follow(view)
        assert view.names() == {wanted.name}
        assert view.happened.count("replace") == 3
        assert source.pause == driver._config.tracker.interval_seconds
        (record,) = caplog.records
        assert "read-job" in record.getMessage()
        assert sum(each.startswith("STREAM") for each in agent.asked) == 1

    def test_it_is_tried_again_and_used_once_it_is_accepted(
        self, driver: NomadDriver, agent: FakeAgent, view: RecordingView, caplog: pytest.LogCaptureFixture
    ) -> None:
        source = driver.sources()[0]
        assert isinstance(source, JobSource)
        agent.lines = iter(())
        source.follow(view)
        agent.clock.advance(REFUSED_SECONDS)
        agent.lines = iter([line()])
        source._accepted = True
        agent.lines = iter([line()])
        with caplog.at_level(logging.WARNING):
            source.follow(view)
        assert source.pause == 0
        assert "accepted again" in caplog.text

    def test_an_agent_that_cannot_be_reached_is_an_error(
        self, driver: NomadDriver, agent: FakeAgent, view: RecordingView
    ) -> None:
        agent.lines = iter([Unavailable("Nomad cannot be reached")])
        with pytest.raises(Unavailable, match="reached"):
            driver.sources()[0].follow(view)

    def test_silence_ends_the_session_with_an_error(
        self, agent: FakeAgent, source: JobSource, view: RecordingView
    ) -> None:
        agent.lines = iter([line(), SILENT])
        with pytest.raises(OrchestratorError):
            source.follow(view)

    def test_a_reading_that_takes_too_long_ends_the_session_with_an_error(
        self, driver: NomadDriver, agent: FakeAgent, source: JobSource, view: RecordingView
    ) -> None:
        """The next session lists everything, so nothing is lost."""
        wanted = submitted(driver)

        def slow(_method: str, path: str) -> None:
            if path.endswith("/allocations"):
                raise Timeout("the deadline passed")

        def ends() -> Iterator[Step]:
            yield line()
            agent.before = slow
            yield line(agent.allocate(wanted.name, "failed", marvin=("dead", True, [STARTED, terminated(3)])))

        agent.lines = ends()
        with pytest.raises(Timeout):
            source.follow(view)
