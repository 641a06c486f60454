"""resend: the mark is taken away, so that the result is published again under the same id. No cancel is lost."""

from __future__ import annotations

import pytest

from runner.drivers.driver import Retention
from runner.observation import Observation, Outcome
from runner.outcomes import classify
from runner.tracker.results import Result, results
from tests.conformance import jobs
from tests.conformance.clusters import Cluster
from tests.conformance.jobs import Program, new_name
from tests.harness.processes import eventually
from tests.harness.rounds import following, listed

pytestmark = pytest.mark.needs("ends")

FAILED = Outcome(reason="analyzer_failed", code=5107, hmessage="The analyzer ended with an error.")


def failed(cluster: Cluster) -> Observation:
    """A job whose program has failed."""
    job = cluster.job(Program(exit_code=3, prints="no such rule\n"))
    cluster.submit(job)
    cluster.end(job)
    return listed(cluster.driver, job.name)


def marked(cluster: Cluster, seen: Observation) -> Observation:
    """The same job, once its end is reported as it is judged."""
    outcome = classify(seen)
    assert outcome is not None
    assert cluster.driver.mark_reported(seen, outcome)
    return listed(cluster.driver, seen.name)


def to_publish(seen: Observation) -> list[tuple[str, int]]:
    """The ids and codes of what atlas is still to receive."""
    outcome = classify(seen)
    assert outcome is not None
    return [(each.id, _code(each)) for each in results(seen, outcome)]


def _code(result: Result) -> int:
    return int(result.body["kwargs"]["status"]["code"])


def test_the_result_of_a_reported_job_is_published_again_under_the_same_id(cluster: Cluster) -> None:
    ended = failed(cluster)
    before = to_publish(ended)
    reported = marked(cluster, ended)
    assert to_publish(reported) == []

    assert cluster.another().resend(reported)

    again = listed(cluster.another(), ended.name)
    assert (again.reported, again.set_aside, again.published, again.resent) == (False, False, "", 1)
    assert to_publish(again) == before
    assert [code for _, code in before] == [5107]


def test_it_can_be_marked_and_resent_any_number_of_times(cluster: Cluster) -> None:
    seen = failed(cluster)
    before = to_publish(seen)
    for times in (1, 2, 3):
        assert cluster.driver.resend(marked(cluster, seen))
        seen = listed(cluster.driver, seen.name)
        assert (seen.resent, to_publish(seen)) == (times, before)
    assert marked(cluster, seen).reported


def test_a_job_that_was_set_aside_is_sent_again(cluster: Cluster) -> None:
    ended = failed(cluster)
    before, others = to_publish(ended), cluster.driver.count_set_aside()
    assert cluster.driver.set_aside(ended, FAILED, "422: there is no run $(r) ${r}")
    eventually(lambda: cluster.another().count_set_aside() == others + 1, "it is counted")
    aside = listed(cluster.another(), ended.name)
    assert (aside.reported, aside.set_aside) == (True, True)
    assert aside.answer == "422: there is no run $(r) ${r}"

    assert cluster.driver.resend(aside)

    eventually(lambda: cluster.driver.count_set_aside() == others, "it is not counted any more")
    again = listed(cluster.another(), ended.name)
    assert (again.reported, again.set_aside, again.answer) == (False, False, "")
    assert to_publish(again) == before


def test_the_tracker_is_shown_it_again(cluster: Cluster) -> None:
    ended = failed(cluster)
    with following(cluster.another()) as view:
        eventually(lambda: view.of(ended.name), "the job is shown")
        reported = marked(cluster, ended)
        eventually(lambda: view.of(ended.name) is None, "it is not shown any more")

        assert cluster.driver.resend(reported)

        again = eventually(lambda: view.of(ended.name), "it is shown again")
    assert (again.resent, to_publish(again)) == (1, to_publish(ended))


def test_a_mark_for_the_sending_before_does_not_count(cluster: Cluster) -> None:
    ended = failed(cluster)
    assert cluster.driver.resend(marked(cluster, ended))

    assert not cluster.driver.mark_reported(ended, FAILED)
    assert not cluster.driver.set_aside(ended, FAILED)

    assert not listed(cluster.driver, ended.name).reported


def test_there_is_nothing_to_resend_without_a_mark(cluster: Cluster) -> None:
    ended, endless = failed(cluster), cluster.job(Program(endless=True))
    cluster.submit(endless)
    running = cluster.running(endless)
    for seen in (ended, running, cluster.unknown(new_name())):
        assert not cluster.driver.resend(seen)
    reported = marked(cluster, ended)
    assert cluster.driver.resend(reported)
    assert not cluster.driver.resend(reported)
    assert listed(cluster.driver, ended.name).resent == 1


def test_a_cancel_after_the_report_stays_and_is_confirmed(cluster: Cluster) -> None:
    ended = failed(cluster)
    reported = marked(cluster, ended)
    assert cluster.cancel(ended.name) == "exists"

    assert not cluster.driver.resend(reported)  # the cancel has taken the mark away
    seen = listed(cluster.driver, ended.name)
    assert (seen.cancelled, seen.cancellation) == (True, jobs.cancellation(ended.name).report)
    assert [code for _, code in to_publish(seen)] == [5001]

    assert cluster.driver.resend(marked(cluster, seen))
    again = listed(cluster.driver, ended.name)
    assert (again.cancelled, again.cancellation) == (True, jobs.cancellation(ended.name).report)
    assert to_publish(again) == [*to_publish(ended), *to_publish(seen)]


def test_a_cancel_after_the_resend_stays(cluster: Cluster) -> None:
    ended = failed(cluster)
    assert cluster.driver.resend(marked(cluster, ended))
    again = listed(cluster.driver, ended.name)
    assert cluster.cancel(ended.name) == "exists"

    seen = listed(cluster.driver, ended.name)
    assert not cluster.driver.mark_reported(again, FAILED)
    assert (seen.cancelled, [code for _, code in to_publish(seen)]) == (True, [5107, 5001])


def test_a_confirmation_is_sent_again(cluster: Cluster) -> None:
    name = new_name()
    assert cluster.cancel(name) == "cancelled"
    seen = cluster.ended(name)
    before = to_publish(seen)
    assert cluster.driver.resend(marked(cluster, seen))
    again = listed(cluster.driver, name)
    assert (again.cancelled, again.reported) == (True, False)
    assert to_publish(again) == before
    assert cluster.submit(cluster.job(name=name)) == "cancelled"


def test_it_keeps_its_name_and_its_end(cluster: Cluster) -> None:
    job = cluster.job(Program(exit_code=3))
    cluster.submit(job)
    cluster.end(job)
    ended = listed(cluster.driver, job.name)
    assert cluster.driver.resend(marked(cluster, ended))
    assert cluster.submit(job) == "exists"
    assert cluster.driver.reconcile(Retention(reported=0, orphaned=3600)) == 0
    again = listed(cluster.driver, job.name)
    assert (again.identity, again.phase) == (ended.identity, "failed")
