"""runner.outcomes: how a job ended, decided from evidence alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.observation import Observation, Outcome
from runner.outcomes import RULES, classify, explanation, missed_end

DESIGN = {
    "succeeded": 0,
    "cancelled": 5000,
    "image_unavailable": 5101,
    "unschedulable": 5102,
    "clone_failed": 5103,
    "out_of_memory": 5104,
    "timed_out": 5105,
    "disrupted": 5106,
    "analyzer_failed": 5107,
    "misconfigured": 5108,
    "deleted": 5109,
    "disk_exhausted": 5110,
    "not_admitted": 5111,
    "unknown": 5199,
}
"""The table of the design. atlas shows these, so they never change."""

EVIDENCE: list[tuple[str, dict[str, Any]]] = [
    ("cancelled", {"phase": "failed", "cancelled": True}),
    ("cancelled", {"phase": "gone", "cancelled": True}),
    ("succeeded", {"phase": "succeeded"}),
    ("succeeded", {"phase": "succeeded", "init_exit": 0, "main_exit": 0}),
    ("deleted", {"phase": "gone"}),
    ("image_unavailable", {"phase": "failed", "image_error": "no such image"}),
    ("misconfigured", {"phase": "failed", "configuration_error": "secret not found"}),
    ("misconfigured", {"phase": "failed", "incomplete": True}),
    ("not_admitted", {"phase": "failed", "not_admitted": "exceeded quota", "timed_out": True}),
    ("disk_exhausted", {"phase": "failed", "disk_exhausted": "500Mi", "disrupted": True, "main_exit": 137}),
    ("out_of_memory", {"phase": "failed", "out_of_memory": True, "main_exit": 137}),
    ("disrupted", {"phase": "failed", "disrupted": True, "main_exit": 143}),
    ("unschedulable", {"phase": "failed", "unschedulable": "0/3 nodes", "timed_out": True}),
    ("timed_out", {"phase": "failed", "timed_out": True, "main_exit": 143}),
    ("timed_out", {"phase": "failed", "timed_out": True, "init_exit": 143}),
    ("clone_failed", {"phase": "failed", "init_exit": 128}),
    ("analyzer_failed", {"phase": "failed", "init_exit": 0, "main_exit": 1}),
    ("analyzer_failed", {"phase": "failed", "main_exit": -9}),
    ("unknown", {"phase": "failed"}),
    ("unknown", {"phase": "failed", "init_exit": 0, "main_exit": 0}),
]

STRONGEST_FIRST: list[tuple[str, dict[str, Any]]] = [
    ("cancelled", {"cancelled": True}),
    ("image_unavailable", {"image_error": "no such image"}),
    ("misconfigured", {"configuration_error": "secret not found"}),
    ("not_admitted", {"not_admitted": "exceeded quota"}),
    ("disk_exhausted", {"disk_exhausted": "500Mi"}),
    ("out_of_memory", {"out_of_memory": True}),
    ("disrupted", {"disrupted": True}),
    ("unschedulable", {"unschedulable": "0/3 nodes"}),
    ("timed_out", {"timed_out": True}),
    ("clone_failed", {"init_exit": 1}),
    ("analyzer_failed", {"main_exit": 1}),
    ("unknown", {}),
]
"""For a failed job, the best explanation first: a cause explains the end better than its effects."""


def seen(**evidence: Any) -> Observation:
    return Observation(**{"name": "analysis-s0-r-1", "driver": "memory", "pool": "default", "created": 0.0, **evidence})


def test_reasons_and_codes_are_those_of_the_design() -> None:
    codes = [(rule.reason, rule.code) for rule in RULES]
    assert sorted(codes) == sorted([*DESIGN.items(), ("cancelled", 5001)])


def test_every_reason_has_an_example() -> None:
    assert {reason for reason, _ in EVIDENCE} == set(DESIGN)


@pytest.mark.parametrize(("reason", "evidence"), EVIDENCE)
def test_evidence_gives_its_reason_code_and_a_sentence(reason: str, evidence: dict[str, Any]) -> None:
    outcome = classify(seen(**evidence))
    assert outcome is not None
    assert (outcome.reason, outcome.code) == (reason, DESIGN[reason])
    assert outcome.hmessage.endswith(".")
    assert outcome.hmessage[:1].isupper()


@pytest.mark.parametrize("position", range(len(STRONGEST_FIRST)))
def test_the_stronger_evidence_wins(position: int) -> None:
    (reason, _), weaker = STRONGEST_FIRST[position], STRONGEST_FIRST[position:]
    together = {name: value for _, evidence in weaker for name, value in evidence.items()}
    outcome = classify(seen(phase="failed", **together))
    assert outcome is not None
    assert outcome.reason == reason


ANYTHING = st.fixed_dictionaries(
    {
        "cancelled": st.booleans(),
        "timed_out": st.booleans(),
        "out_of_memory": st.booleans(),
        "disrupted": st.booleans(),
        "image_error": st.sampled_from(["", "x"]),
        "unschedulable": st.sampled_from(["", "x"]),
        "configuration_error": st.sampled_from(["", "x"]),
        "init_exit": st.none() | st.integers(-64, 255),
        "main_exit": st.none() | st.integers(-64, 255),
    }
)


@given(ANYTHING)
def test_a_waiting_or_running_job_has_no_outcome_whatever_the_evidence(evidence: dict[str, Any]) -> None:
    assert classify(seen(phase="waiting", **evidence)) is None
    assert classify(seen(phase="running", **evidence)) is None


@given(st.sampled_from(["succeeded", "failed", "gone"]), ANYTHING)
def test_a_job_that_ended_always_has_an_outcome(phase: str, evidence: dict[str, Any]) -> None:
    outcome = classify(seen(phase=phase, **evidence))
    assert outcome is not None
    before = evidence["cancelled"] and phase == "succeeded"
    assert outcome.code == (5001 if before else DESIGN[outcome.reason])
    assert (outcome.reason == "succeeded") is (phase == "succeeded" and not evidence["cancelled"])


def test_an_outcome_contains_all_the_evidence() -> None:
    outcome = classify(
        seen(
            phase="failed",
            init_exit=128,
            main_exit=137,
            image_error="image: gone",
            configuration_error="secret: missing",
            unschedulable="0/3 nodes",
            message="the node said so",
            log_tail="one\ntwo\n",
        )
    )
    assert outcome is not None
    assert outcome.err == (
        "init container: exit code 128\nmain container: exit code 137, killed by SIGKILL\nimage: gone\n"
        "secret: missing\n0/3 nodes\nthe node said so\nlast lines of the log:\none\ntwo\n"
    )


def test_an_outcome_without_evidence_has_an_empty_err() -> None:
    outcome = classify(seen(phase="failed", init_exit=0))
    assert outcome is not None
    assert outcome.err == ""


def test_no_secret_is_in_the_evidence() -> None:
    log = "fatal: unable to access 'https://user:hunter2@git.example/x'\ntoken eyJhbGciOi.eyJleHAi.c2ln"
    outcome = classify(seen(phase="failed", message="-----BEGIN RSA PRIVATE KEY-----\nhunter2", log_tail=log))
    assert outcome is not None
    assert "hunter2" not in outcome.err
    assert "eyJ" not in outcome.err


def test_a_cancel_that_came_after_the_end_says_how_the_run_had_ended() -> None:
    before = Outcome(reason="analyzer_failed", code=5107, hmessage="The analyzer ended with an error.")
    outcome = classify(seen(phase="failed", cancelled=True, ended_as=before))
    assert outcome is not None
    assert (outcome.code, outcome.hmessage) == (5001, "The run had already ended: analyzer_failed.")


@pytest.mark.parametrize("phase", ["waiting", "running", "succeeded", "failed", "gone"])
def test_what_was_stored_with_the_job_is_not_contradicted(phase: str) -> None:
    stored = Outcome(reason="image_unavailable", code=5101, hmessage="No image.", err="ErrImagePull")
    assert classify(seen(phase=phase, ended_as=stored, main_exit=137, disrupted=True)) == stored


def test_running_out_of_memory_names_the_container() -> None:
    outcome = classify(seen(phase="failed", out_of_memory=True, container="coat"))
    assert outcome is not None
    assert "container coat ran out of memory" in outcome.hmessage


def test_an_end_that_a_cancel_had_missed_is_kept_with_the_confirmation() -> None:
    """The program ended while it was being stopped. Later its pod is gone, and the confirmation may be sent again."""
    confirmed = seen(phase="succeeded", main_exit=0, cancelled=True)
    missed = missed_end(confirmed, classify(confirmed))  # type: ignore[arg-type]
    assert missed is not None
    assert (missed.reason, missed.code) == ("succeeded", 0)
    again = classify(seen(phase="failed", cancelled=True, ended_as=missed))
    assert again is not None
    assert again == classify(seen(phase="succeeded", main_exit=0, cancelled=True, ended_as=missed))
    assert (again.code, again.hmessage) == (5001, "The run had already ended: succeeded.")


@pytest.mark.parametrize("facts", [{"phase": "failed"}, {"phase": "failed", "main_exit": 143}, {"phase": "waiting"}])
def test_a_run_that_its_cancel_stopped_had_not_ended(facts: dict[str, Any]) -> None:
    confirmed = seen(cancelled=True, **facts)
    assert missed_end(confirmed, explanation(confirmed)) is None


def test_an_end_that_nobody_cancelled_is_not_missed() -> None:
    ended = seen(phase="succeeded", main_exit=0)
    assert missed_end(ended, explanation(seen(phase="succeeded", main_exit=0, cancelled=True))) is None
