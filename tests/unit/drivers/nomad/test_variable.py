"""runner.drivers.nomad.variable: what is written to a job's Variable can be read back."""

from __future__ import annotations

import msgspec
import pytest

from runner.drivers.nomad.variable import (
    Ended,
    JobVariable,
    VariableStub,
    check_size,
    closed_items,
    decode,
    encode,
    open_items,
    read_variable,
    with_cancellation,
    with_outcome,
)
from runner.errors import Rejected
from runner.jobs import Secret
from runner.observation import Outcome
from tests.conformance.jobs import cancellation, job

DONE = Outcome(reason="succeeded", code=0, hmessage="")


def read(items: dict[str, str]) -> JobVariable:
    variable = VariableStub(path="nomad/jobs/a", items=items, create_index=3, modify_index=7, modify_time=5_000_000_000)
    variable = read_variable(variable, 12.0)
    assert variable is not None
    return variable


def test_an_open_variable_is_read_as_it_was_written() -> None:
    wanted = job("shell", secrets={"TOKEN": Secret("t")})
    variable = read(open_items(wanted, {"TOKEN": "t"}, "nonce"))
    assert (variable.fingerprint, variable.pool, variable.report) == (wanted.fingerprint, wanted.pool, wanted.report)
    assert (variable.open, variable.nonce, variable.index, variable.modified, variable.age) == (
        True,
        "nonce",
        7,
        5.0,
        7.0,
    )


@pytest.mark.parametrize(
    "close",
    [
        lambda variable: with_cancellation(variable, cancellation("a")),
        lambda variable: with_outcome(variable, DONE),
        lambda variable: msgspec.structs.replace(variable, ended=Ended(timed_out=True)),
    ],
)
def test_a_closed_variable_keeps_the_report_and_no_secret(close: object) -> None:
    wanted = job("shell")
    variable = close(read(open_items(wanted, {"TOKEN": "hunter2"})))  # type: ignore[operator]
    items = closed_items(variable)
    assert "hunter2" not in repr(items)
    again = read(items)
    assert not again.open
    kept = ("fingerprint", "pool", "report", "cancelled", "ended", "reported")
    assert [getattr(again, name) for name in kept] == [getattr(variable, name) for name in kept]


def test_a_tombstone_is_read_as_a_variable() -> None:
    again = read(closed_items(with_cancellation(None, cancellation("a"))))
    assert again.cancelled == cancellation("a").report
    assert again.fingerprint == ""


def test_a_variable_of_another_program_is_none() -> None:
    assert read_variable(VariableStub(path="nomad/jobs/a", items={"password": "x"}), 0.0) is None


def test_nothing_in_a_report_is_interpolated() -> None:
    report = msgspec.structs.replace(job("shell").report, run_id="${attr.kernel.name} $(X)")
    text = encode(report)
    assert "$" not in text
    assert decode(text, type(report)) == report


def test_an_invalid_value_is_none() -> None:
    assert decode("{", Ended) is None


@pytest.mark.parametrize("value", ["x" * 65_536, "&" * 12_000, "\n" * 33_000])
def test_secrets_too_large_for_a_variable_or_a_template_are_rejected_with_the_name(value: str) -> None:
    with pytest.raises(Rejected, match="analysis-1"):
        check_size("analysis-1", {"A": value})


def test_secrets_within_the_limit_are_accepted() -> None:
    check_size("analysis-1", {"A": "x" * 60_000})


def test_the_repr_shows_the_state_and_no_secret() -> None:
    variable = read(open_items(job("shell"), {"TOKEN": "hunter2"}))
    assert repr(variable) == "JobVariable(open, index=7)"
