"""runner.tracker.results: what atlas is still to receive, under which id, and nothing that it cannot store."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.jobs import Report
from runner.observation import Observation, Outcome
from runner.request_types import REQUEST_TYPES
from runner.tracker.results import ENDED_BEFORE, ERR_LIMIT, HMESSAGE_LIMIT, Result, bounded, results
from tests.unit.security.keys_in_text import SHAPES, key, remains

REPORT = Report(request_type="analysis_run", run_id="r-1", path="/results", task="store", scope="analysis.*")
CONFIRMATION = Report(
    request_type="cancel_check_run", run_id="c-1", path="/confirm", task="confirm", scope="analysis.*"
)
VERDICT = msgspec.structs.replace(REPORT, request_type="ssh_verify_run", run_id="v-1")

FAILED = Outcome(reason="analyzer_failed", code=5107, hmessage="It failed.", err="exit code 3")
SUCCEEDED = Outcome(reason="succeeded", code=0, hmessage="The run finished.")
CANCELLED = Outcome(reason="cancelled", code=5000, hmessage="The run was cancelled.")
TOO_LATE = Outcome(reason="cancelled", code=ENDED_BEFORE, hmessage="The run had already ended: analyzer_failed.")
TIMED_OUT = Outcome(reason="timed_out", code=5105, hmessage="The run took longer than allowed.")


def job(**given: Any) -> Observation:
    values: dict[str, Any] = {"name": "j", "driver": "kubernetes", "pool": "p", "phase": "failed", "created": 1.0}
    return Observation(**{**values, "place": "ci", "identity": "uid-1", "report": REPORT, **given})


def cancelled(**given: Any) -> Observation:
    return job(cancelled=True, cancellation=CONFIRMATION, **given)


NO_PATH = msgspec.structs.replace(REPORT, path="")
END, CONFIRM = ("end", "r-1", 5107), ("cancellation", "c-1", 5000)
CONFIRM_END = ("cancellation", "c-1", 5001)

CASES: dict[str, tuple[Observation, Outcome, list[tuple[str, str, Any]]]] = {
    "a failure": (job(), FAILED, [END]),
    "a success, which the job publishes": (job(phase="succeeded"), SUCCEEDED, []),
    "an end that atlas has accepted": (job(published="analyzer_failed"), FAILED, []),
    "no report": (job(report=None), FAILED, []),
    "no report path": (job(report=NO_PATH), FAILED, []),
    "a verdict": (job(report=VERDICT, main_exit=10), FAILED, [("end", "v-1", 10)]),
    "a good verdict": (job(report=VERDICT, phase="succeeded", main_exit=0), SUCCEEDED, [("end", "v-1", 0)]),
    "no verdict": (job(report=VERDICT, main_exit=137), FAILED, [("end", "v-1", 5107)]),
    "cancelled before its end": (cancelled(), CANCELLED, [CONFIRM]),
    "cancelled, with no path for a confirmation": (job(cancelled=True, cancellation=NO_PATH), CANCELLED, []),
    "cancelled by hand": (job(cancelled=True), CANCELLED, []),
    "a tombstone": (cancelled(report=None, phase="gone"), CANCELLED, [CONFIRM]),
    "cancelled before its end, with a verdict": (cancelled(report=VERDICT, main_exit=10), CANCELLED, [CONFIRM]),
    "ended, then cancelled": (cancelled(ended_as=FAILED), TOO_LATE, [END, CONFIRM_END]),
    "ended and published, then cancelled": (
        cancelled(ended_as=FAILED, published="analyzer_failed"),
        TOO_LATE,
        [CONFIRM_END],
    ),
    "succeeded, then cancelled": (cancelled(phase="succeeded", ended_as=SUCCEEDED), TOO_LATE, [CONFIRM_END]),
    "a verdict, then cancelled": (
        cancelled(report=VERDICT, main_exit=13, ended_as=FAILED),
        TOO_LATE,
        [("end", "v-1", 13), CONFIRM_END],
    ),
    "ended, then cancelled by hand": (job(cancelled=True, ended_as=FAILED), TOO_LATE, [END]),
    "ended as nobody knows, then cancelled": (cancelled(), TOO_LATE, [CONFIRM_END]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_atlas_is_still_to_receive(case: str) -> None:
    seen, outcome, expected = CASES[case]
    assert [(sent.kind, sent.run_id, code(sent)) for sent in results(seen, outcome)] == expected


def code(sent: Result) -> Any:
    """The status code; a verdict is a number itself."""
    status = sent.body["kwargs"]["status"]
    return status["code"] if isinstance(status, dict) else status


def test_a_confirmation_after_the_end_says_how_it_had_ended() -> None:
    end, confirmation = results(cancelled(ended_as=FAILED), TOO_LATE)
    assert end.body["kwargs"]["status"] == {"code": 5107, "hmessage": "It failed.", "err": "exit code 3"}
    assert confirmation.body["kwargs"]["status"]["hmessage"] == TOO_LATE.hmessage
    assert (end.path, confirmation.path) == ("/results", "/confirm")


def test_the_body_has_the_id_of_the_result() -> None:
    for sent in results(cancelled(ended_as=FAILED), TOO_LATE):
        assert sent.body["id"] == sent.id
        assert sent.body["retries"] == 0


def end_id(**given: Any) -> str:
    (sent,) = results(job(**given), FAILED)
    return sent.id


def test_the_id_of_an_end_does_not_depend_on_how_it_was_judged() -> None:
    assert {sent.id for outcome in (FAILED, TIMED_OUT) for sent in results(job(), outcome)} == {end_id()}
    assert end_id(phase="gone", pool="q", created=9.0, message="x") == end_id()
    assert results(cancelled(ended_as=TIMED_OUT), TOO_LATE)[0].id == end_id()


@pytest.mark.parametrize(
    "given",
    [
        {"driver": "nomad"},
        {"place": "cd"},
        {"name": "k"},
        {"identity": "uid-2"},
        {"report": msgspec.structs.replace(REPORT, run_id="r-2")},
        {"name": "jc", "place": "i"},
    ],
)
def test_another_job_has_another_id(given: dict[str, Any]) -> None:
    assert end_id(**given) != end_id()


def test_all_tombstones_of_a_cancel_are_one_confirmation() -> None:
    places = [("kubernetes", "ci"), ("kubernetes", "cd"), ("nomad", "ci")]
    tombstones = [
        cancelled(driver=where, place=place, identity=f"uid of {place}", report=None) for where, place in places
    ]
    ids = {sent.id for seen in tombstones for sent in results(seen, CANCELLED)}
    assert len(ids) == 1
    others = [
        cancelled(name="k"),
        job(cancelled=True, cancellation=msgspec.structs.replace(CONFIRMATION, run_id="c-2")),
    ]
    assert len(ids | {sent.id for seen in others for sent in results(seen, CANCELLED)}) == 3


texts = st.text(st.characters() | st.sampled_from("\x00\x1b\x9b\r\n\ud800é€𝄞"), max_size=40)
reports = st.builds(
    Report,
    request_type=st.sampled_from([*REQUEST_TYPES, "later_run"]),
    run_id=texts,
    path=st.just("/p"),
    task=texts,
    scope=st.just("s"),
    check_seq=texts,
    analyzer=texts,
)


@given(reports, texts, texts, st.integers(1, 2000))
def test_no_string_of_a_result_has_what_a_database_does_not_take(
    report: Report, hmessage: str, err: str, times: int
) -> None:
    outcome = Outcome(reason="unknown", code=5199, hmessage=hmessage * times, err=err * times)
    seen = cancelled(report=report, ended_as=outcome)
    for sent in results(seen, msgspec.structs.replace(outcome, code=ENDED_BEFORE)):
        body = msgspec.json.encode(sent.body)
        assert len(body) < 12 * HMESSAGE_LIMIT + 6 * ERR_LIMIT + 2000
        for text in strings(msgspec.json.decode(body)):
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", text)
            assert len(text.encode()) <= ERR_LIMIT


def strings(value: Any) -> list[str]:
    """Every string in a value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for each in value for text in strings(each)]
    return [value] if isinstance(value, str) else []


@given(st.text(max_size=50), st.integers(1, 3000))
def test_sizes_are_bounded_and_what_fits_is_kept(text: str, times: int) -> None:
    cut = bounded(Outcome(reason="unknown", code=5199, hmessage=text * times, err=text * times))
    assert len(cut.hmessage) <= HMESSAGE_LIMIT
    assert len(cut.err.encode()) <= ERR_LIMIT


def test_a_long_text_keeps_its_beginning_and_long_evidence_its_end_too() -> None:
    facts, log = "main container: exit code 3\n", "é" * ERR_LIMIT + "fatal: the last line"
    cut = bounded(Outcome(reason="unknown", code=5199, hmessage="a b " * 999, err=facts + log))
    assert cut.hmessage.startswith("a b a b")
    assert cut.hmessage.endswith("…")
    assert len(cut.hmessage) == HMESSAGE_LIMIT
    assert cut.err.startswith(facts)
    assert cut.err.endswith("é" * 99 + "fatal: the last line")
    assert "left out" in cut.err
    assert ERR_LIMIT - 8 < len(cut.err.encode()) <= ERR_LIMIT


@given(st.integers(0, 9000))
def test_secrets_are_masked_before_the_text_is_cut(before: int) -> None:
    printed = key(SHAPES["RSA"], seed=1)
    secret = f"{'a b ' * (before // 4)}\n{printed.text}https://user:hunter2-hunter2@host/x"
    cut = bounded(Outcome(reason="unknown", code=5199, hmessage=secret, err=f"{secret}\n{'x y ' * 2900}"))
    assert not remains(printed.body, cut.err)
    assert not remains(printed.body, cut.hmessage)
    assert "hunter2" not in cut.err + cut.hmessage
