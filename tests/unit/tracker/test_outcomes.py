"""runner.tracker.outcomes: how a job ended, decided from evidence alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.observation import Observation
from runner.tracker.outcomes import RULES, classify

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
    assert {rule.reason: rule.code for rule in RULES} == DESIGN
    assert len(RULES) == len(DESIGN)


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
    assert DESIGN[outcome.reason] == outcome.code
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
        "init container: exit code 128\nmain container: exit code 137\nimage: gone\nsecret: missing\n0/3 nodes\n"
        "the node said so\nlast lines of the log:\none\ntwo\n"
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
