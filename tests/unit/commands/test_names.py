"""runner.commands.names: names and label values that every cluster takes, and never one for two."""

from __future__ import annotations

import re
from hashlib import sha256

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runner.commands.names import job_name, label_value

DNS_LABEL = re.compile(r"\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
LABEL_VALUE = re.compile(r"\A(([A-Za-z0-9][A-Za-z0-9_.-]{0,61})?[A-Za-z0-9])?\Z")

RUN_IDS = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
SERIALS = st.from_regex(r"\A[0-9]{1,20}\Z")
WANTED = st.builds("analysis-s{}-{}-{}".format, SERIALS, RUN_IDS, SERIALS)


@pytest.mark.parametrize(
    "wanted",
    [
        "analysis-s0-f231fc3d-d586-4d65-a478-402005e1736f-1",
        "analysis-s" + "1" * 20 + "-" + "r" * 30 + "-1",
        "a",
        "a" * 63,
        "a--b",
        "analysis-s0-r-habc-1",
    ],
)
def test_a_dns_label_is_its_own_name(wanted: str) -> None:
    assert job_name(wanted) == wanted


@pytest.mark.parametrize(
    ("wanted", "head"),
    [
        ("analysis-s0-Run_7.b-1", "analysis-s0-run-7-b-1"),
        ("analysis-s0-" + "r" * 64 + "-1", "analysis-s0-" + "r" * 33),
        ("transformer-s0-r-", "transformer-s0-r"),
        ("transformer-s0-r...", "transformer-s0-r"),
        ("a" * 44 + "-" * 30 + "b", "a" * 44),
        ("analysis-s0-r-h0123456789abcdef", "analysis-s0-r-h0123456789abcdef"),
    ],
)
def test_anything_else_keeps_a_readable_head_and_gets_a_hash(wanted: str, head: str) -> None:
    assert job_name(wanted) == f"{head}-h{sha256(wanted.encode()).hexdigest()[:16]}"


def test_the_edge_is_at_63_characters() -> None:
    assert job_name("a" * 63) == "a" * 63
    assert len(job_name("a" * 64)) == 63
    assert "-h" in job_name("a" * 64)


@given(WANTED)
def test_every_name_is_a_dns_label(wanted: str) -> None:
    assert DNS_LABEL.match(job_name(wanted))


@given(WANTED, WANTED)
def test_two_ids_never_come_to_one_name(one: str, other: str) -> None:
    assume(one != other)
    assert job_name(one) != job_name(other)


@given(st.from_regex(r"\Ar[A-Za-z._-]{0,6}\Z"), st.from_regex(r"\Ar[A-Za-z._-]{0,6}\Z"))
def test_not_even_two_that_are_alike_once_cleaned(one: str, other: str) -> None:
    assume(one != other)
    assert job_name(f"analysis-s0-{one}-1") != job_name(f"analysis-s0-{other}-1")


@given(WANTED, st.integers(1, 4))
def test_an_id_that_imitates_a_hashed_name_gets_another(wanted: str, times: int) -> None:
    taken = {wanted: job_name(wanted)}
    for _ in range(times):
        imitation = taken[wanted]
        assume(imitation != wanted)
        assert job_name(imitation) not in taken.values()
        wanted, taken = imitation, {**taken, imitation: job_name(imitation)}


@given(SERIALS, RUN_IDS, SERIALS, SERIALS, RUN_IDS, SERIALS)
def test_the_parts_of_a_wanted_name_cannot_run_into_each_other(
    serial: str, run_id: str, seq: str, other_serial: str, other_run_id: str, other_seq: str
) -> None:
    assume((serial, run_id, seq) != (other_serial, other_run_id, other_seq))
    assert f"analysis-s{serial}-{run_id}-{seq}" != f"analysis-s{other_serial}-{other_run_id}-{other_seq}"


@pytest.mark.parametrize("value", ["", "python", "A.b_c-d", "a" * 63, "0"])
def test_a_good_label_value_stays(value: str) -> None:
    assert label_value(value) == value


@pytest.mark.parametrize("value", ["team/python", "a" * 64, "a-", "_a", "a b", "a" * 40 + "/" + "b" * 80])
def test_any_other_keeps_a_head_and_gets_a_hash(value: str) -> None:
    made = label_value(value)
    assert LABEL_VALUE.match(made)
    assert made.endswith(sha256(value.encode()).hexdigest()[:16])


@given(st.text("ab1._-/", max_size=128).map(lambda rest: f"a{rest}b"))
def test_every_image_name_becomes_a_label_value(name: str) -> None:
    assert LABEL_VALUE.match(label_value(name))
    assert label_value(name)[:1] == name[:1]


@given(RUN_IDS, RUN_IDS)
def test_two_label_values_differ_where_what_they_stand_for_does(one: str, other: str) -> None:
    assume(one != other)
    assert label_value(one) != label_value(other)
