"""`jobs explain`: what an operator reads of each situation that real servers have shown."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from runner.cli.explaining import lines
from runner.config.types import LimitsSection
from runner.jobs import Report
from runner.observation import Observation, Outcome
from runner.outcomes import RULES, classify
from runner.runtime.clock import SystemClock
from runner.tracker.advice import ADVICE, HELD, STARTING, limit_of, state_of, wait_of
from tests.conftest import ROOT
from tests.outcomes.test_kubernetes import ENDS, MISSING, PULL
from tests.unit.drivers.kubernetes.objects import observed

LIMITS = LimitsSection()
OUTCOMES = (ROOT / "docs" / "outcomes.md").read_text()
BASE = Observation(name="job-1", driver="kubernetes", place="ci", pool="small", phase="waiting", created=0.0)

VERIFIED = Report(request_type="ssh_verify_run", run_id="r", path="/results", task="t", scope="s")
"""Of a job whose success the tracker sends."""

KUBERNETES = {
    "9 the image is missing": ("image_unavailable", "ImagePullBackOff: coat: ", "limits.imageSeconds"),
    "9 marvin's image is missing": ("image_unavailable", "ErrImagePull: marvin: ", "limits.imageSeconds"),
    "11 no node has room": ("unschedulable", "Unschedulable: 0/1 nodes", "limits.queueSeconds"),
    "12 no pod is made": ("starting", "Starting", "limits.queueSeconds"),
    "13 a volume is missing": ("starting", "Starting", "limits.queueSeconds"),
}
"""Of the situations that wait: the reason, the beginning of why, and what bounds it."""

WAITS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"held": "queue batch"}, HELD, "Suspended by queue batch", "Nothing bounds this wait"),
    ({"incomplete": True}, "misconfigured", "Incomplete: its secrets are missing", "limits.queueSeconds"),
    ({"not_admitted": "exceeded quota: q"}, "not_admitted", "Not admitted: exceeded quota: q", "limits.queueSeconds"),
    (
        {"configuration_error": 'MountVolume.SetUp failed for volume "credentials": secret "creds" not found'},
        "misconfigured",
        'MountVolume.SetUp failed for volume "credentials": secret "creds" not found',
        "limits.imageSeconds",
    ),
    (
        {"image_error": f"coat: ErrImagePull: {PULL}429 Too Many Requests", "registry_error": True},
        "image_unavailable",
        "ErrImagePull: coat: Back-off",
        "limits.registrySeconds",
    ),
    ({"unschedulable": "0/3 nodes are available"}, "unschedulable", "Unschedulable: 0/3 nodes", "limits.queueSeconds"),
]


def text(seen: Observation, limits: LimitsSection = LIMITS) -> str:
    return "\n".join(lines(seen, limits))


def paragraph(label: str, seen: Observation, limits: LimitsSection = LIMITS) -> str:
    """What the explanation says under a label; empty if it does not have it."""
    found = [part for part in text(seen, limits).split("\n\n") if part.startswith(label)]
    return re.sub(r"\s+", " ", found[0].removeprefix(label)).strip() if found else ""


@pytest.mark.parametrize(("name", "code", "known", "pod"), [row[:4] for row in ENDS], ids=[row[0] for row in ENDS])
def test_what_is_said_of(name: str, code: int | None, known: Any, pod: Any) -> None:
    seen = observed(known, pod)
    outcome = classify(seen)
    if outcome is not None:
        assert f": {outcome.reason}" in text(seen).splitlines()[0]
        assert (f"code {code}." in text(seen).splitlines()[0]) == bool(code)
        assert paragraph("Do next", seen)
        assert not paragraph("Until", seen)
    elif seen.phase == "running":
        assert " runs (" in text(seen)
        assert "Do next" not in text(seen)
        assert not paragraph("Until", seen)
    else:
        reason, why, bound = KUBERNETES.get(name, ("starting", "Starting", "limits.queueSeconds"))
        assert (state_of(seen), wait_of(seen).reason) == ("waiting", reason)  # type: ignore[union-attr]
        assert paragraph("Why", seen).startswith(why)
        assert bound in paragraph("Until", seen)


@pytest.mark.parametrize(("facts", "reason", "why", "bound"), WAITS, ids=[row[2][:30] for row in WAITS])
def test_why_a_job_waits(facts: dict[str, Any], reason: str, why: str, bound: str) -> None:
    seen = msgspec.structs.replace(BASE, queued_since=SystemClock().wall(), **facts)
    wait = wait_of(seen)
    assert wait is not None
    assert wait.reason == reason
    assert paragraph("Why", seen).startswith(why)
    assert bound in paragraph("Until", seen)
    assert paragraph("Atlas", seen) == "Nothing yet: it has not ended."
    assert paragraph("Do next", seen)


def test_a_wait_that_has_passed_its_limit_points_at_the_tracker() -> None:
    seen = msgspec.structs.replace(BASE, unschedulable="0/3 nodes", queued_since=SystemClock().wall() - 700)
    assert paragraph("Until", seen).endswith("Does a tracker run, and lead?")


def test_a_queue_that_is_bounded() -> None:
    now = SystemClock().wall()
    seen = msgspec.structs.replace(BASE, held="queue batch", queued_since=now)
    limit = limit_of(seen, LimitsSection(admission_seconds=3600))
    assert limit is not None
    assert limit.at == now + 3600
    assert "ended as not_admitted (5111)" in paragraph("Until", seen, LimitsSection(admission_seconds=3600))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"phase": "succeeded", "reported": True}, "The job published its result itself."),
        ({"phase": "succeeded"}, "The job published its result itself; the tracker has not marked the job yet."),
        ({"phase": "failed", "main_exit": 3}, "The result is pending"),
        ({"phase": "failed", "main_exit": 3, "reported": True}, "It has accepted the result."),
        ({"phase": "failed", "main_exit": 3, "reported": True, "set_aside": True}, "the job was set aside"),
        ({"phase": "failed", "cancelled": True, "published": "timed_out"}, "Before its cancel, timed_out was accepted"),
    ],
)
def test_what_atlas_has(facts: dict[str, Any], said: str) -> None:
    assert said in paragraph("Atlas", msgspec.structs.replace(BASE, **facts))


def test_a_result_that_atlas_does_not_accept_is_something_to_do() -> None:
    seen = msgspec.structs.replace(BASE, phase="failed", main_exit=3)
    assert "why atlas does not" in "\n".join(lines(seen, LIMITS, "Its last answer: 503: down. Sent 3 time(s) so far."))
    assert "why atlas does not" not in "\n".join(lines(seen, LIMITS, "It has not refused it so far."))


@pytest.mark.parametrize("facts", [{"phase": "failed", "cancelled": True}, {"phase": "succeeded", "report": VERIFIED}])
def test_nothing_to_do_is_not_said_beside_what_is_to_be_done(facts: dict[str, Any]) -> None:
    seen = msgspec.structs.replace(BASE, **facts)
    assert paragraph("Do next", seen) == "Nothing."
    said = "\n".join(lines(seen, LIMITS, "Its last answer: 503: down. Sent 3 time(s) so far."))
    assert said.count("Nothing") == 0
    assert "Find out why atlas does not accept the result" in said


@pytest.mark.parametrize(
    ("reported", "said"), [(False, "The result is pending"), (True, "It has accepted the result.")]
)
def test_a_success_that_the_tracker_sends_was_not_sent_by_the_job(reported: bool, said: str) -> None:
    published = "succeeded" if reported else ""
    seen = msgspec.structs.replace(BASE, phase="succeeded", report=VERIFIED, reported=reported, published=published)
    assert paragraph("Atlas", seen).startswith(said)


def test_a_limit_that_has_passed_is_not_waited_for() -> None:
    late = msgspec.structs.replace(BASE, queued_since=SystemClock().wall() - 700)
    for seen in (
        late,
        msgspec.structs.replace(late, unschedulable="0/3 nodes"),
        msgspec.structs.replace(late, delay="x"),
    ):
        assert paragraph("Do next", seen) == "Check that a tracker runs and leads."


def test_what_its_node_cannot_do_is_named_with_advice() -> None:
    seen = msgspec.structs.replace(BASE, delay="NetworkNotReady: no network", queued_since=SystemClock().wall())
    assert paragraph("Why", seen) == "Starting: NetworkNotReady: no network"
    assert "look at its node" in paragraph("Do next", seen)
    assert "unschedulable (5102)" in paragraph("Until", seen)


@pytest.mark.parametrize("phase", ["waiting", "running"])
@pytest.mark.parametrize("facts", [{}, {"held": "queue batch"}, {"unschedulable": "0/3 nodes"}])
def test_a_cancelled_job_waits_for_nothing_but_its_end(phase: str, facts: dict[str, Any]) -> None:
    seen = msgspec.structs.replace(BASE, phase=phase, cancelled=True, queued_since=0.0, **facts)
    assert paragraph("Why", seen) == "Cancelled: the cluster is about to end it"
    assert not paragraph("Until", seen)
    assert paragraph("Do next", seen) in ("", "Nothing.")


@pytest.mark.parametrize("held", ["its pod's schedulingGates", "the suspension of its Job"])
def test_what_holds_a_job_without_a_queue(held: str) -> None:
    assert paragraph("Why", msgspec.structs.replace(BASE, held=held)) == f"Held by {held}"


def test_the_evidence_is_shown_with_its_lines() -> None:
    ended = Outcome(reason="analyzer_failed", code=5107, hmessage="It failed.", err="one\ntwo")
    assert "Why        one\n           two" in text(msgspec.structs.replace(BASE, phase="failed", ended_as=ended))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"init_exit": 128}, "perhaps `jobs logs {}` has the end of coat's log."),
        ({"init_exit": 128, "message": "fatal: no such repository"}, "above is the end of coat's log."),
        ({"main_exit": 1}, "Perhaps `jobs logs {}` has the end of its log."),
        ({"main_exit": 1, "log_tail": "Traceback"}, "Above is the end of its log."),
    ],
)
def test_a_log_is_above_only_if_it_is(facts: dict[str, Any], said: str) -> None:
    seen = msgspec.structs.replace(BASE, phase="failed", **facts)
    assert said.format(seen.name) in paragraph("Do next", seen)


def test_each_reason_has_advice_and_the_documents_have_the_same() -> None:
    rows = [line.split(" | ") for line in OUTCOMES.splitlines() if line.startswith("| `")]
    written = {row[0].strip("| `"): row[-1].rstrip(" |") for row in rows if len(row) == 5}
    reasons = {rule.reason for rule in RULES}
    assert {reason: ADVICE[reason] for reason in reasons} == {reason: written[reason] for reason in reasons}
    assert set(ADVICE) == reasons | {HELD, STARTING}


@pytest.mark.parametrize("reason", ADVICE)
def test_advice_is_in_sentences_and_names_no_field(reason: str) -> None:
    ended = Outcome(reason=reason, code=1, hmessage="It failed.", err="one")
    said = paragraph("Do next", msgspec.structs.replace(BASE, phase="failed", ended_as=ended))
    assert "`err`" not in said
    assert re.fullmatch(r"([A-Z0-9][^.]*([.][a-zA-Z][^.]*)*[.] ?)+", said)
    assert not re.search(r"[;:,] [A-Z][a-z]", said)


def test_a_missing_image_says_what_was_missing() -> None:
    seen = msgspec.structs.replace(BASE, image_error=f"coat: ErrImagePull: {MISSING}", queued_since=0.0)
    assert "not found" in paragraph("Why", seen)
