"""What a job's Variable says, and how it is read again."""

from __future__ import annotations

import msgspec
import pytest

from runner.drivers.nomad import record as nomad_record
from runner.drivers.nomad.record import Ended, Record, Variable
from runner.errors import Rejected
from runner.jobs import Secret
from runner.observation import Outcome
from tests.conformance.jobs import cancellation, job

DONE = Outcome(reason="succeeded", code=0, hmessage="")


def read(items: dict[str, str]) -> Record:
    variable = Variable(path="nomad/jobs/a", items=items, create_index=3, modify_index=7, modify_time=5_000_000_000)
    record = nomad_record.read(variable, 12.0)
    assert record is not None
    return record


def test_an_open_record_is_read_as_it_was_written() -> None:
    wanted = job("shell", secrets={"TOKEN": Secret("t")})
    record = read(nomad_record.opened(wanted, {"TOKEN": "t"}, "nonce"))
    assert (record.fingerprint, record.pool, record.report) == (wanted.fingerprint, wanted.pool, wanted.report)
    assert (record.open, record.nonce, record.index, record.modified, record.age) == (True, "nonce", 7, 5.0, 7.0)


@pytest.mark.parametrize(
    "close",
    [
        lambda record: nomad_record.cancelled(record, cancellation("a")),
        lambda record: nomad_record.reported(record, DONE),
        lambda record: msgspec.structs.replace(record, ended=Ended(timed_out=True)),
    ],
)
def test_a_closed_record_keeps_what_is_owed_and_no_secret(close: object) -> None:
    wanted = job("shell")
    record = close(read(nomad_record.opened(wanted, {"TOKEN": "hunter2"})))  # type: ignore[operator]
    items = nomad_record.closed(record)
    assert "hunter2" not in repr(items)
    again = read(items)
    assert not again.open
    kept = ("fingerprint", "pool", "report", "cancelled", "ended", "reported")
    assert [getattr(again, name) for name in kept] == [getattr(record, name) for name in kept]


def test_a_name_that_was_cancelled_before_its_job_came_is_a_record_too() -> None:
    again = read(nomad_record.closed(nomad_record.cancelled(None, cancellation("a"))))
    assert again.cancelled == cancellation("a").report
    assert again.fingerprint == ""


def test_somebody_else_s_variable_is_none_of_ours() -> None:
    assert nomad_record.read(Variable(path="nomad/jobs/a", items={"password": "x"}), 0.0) is None


def test_nothing_in_a_report_is_interpolated() -> None:
    report = msgspec.structs.replace(job("shell").report, run_id="${attr.kernel.name} $(X)")
    text = nomad_record.encode(report)
    assert "$" not in text
    assert nomad_record.decode(text, type(report)) == report


def test_an_edited_value_is_none() -> None:
    assert nomad_record.decode("{", Ended) is None


@pytest.mark.parametrize("value", ["x" * 65_536, "&" * 12_000, "\n" * 33_000])
def test_what_no_variable_holds_or_no_template_renders_is_refused_by_name(value: str) -> None:
    with pytest.raises(Rejected, match="analysis-1"):
        nomad_record.refuse_oversized("analysis-1", {"A": value})


def test_what_fits_is_let_through() -> None:
    nomad_record.refuse_oversized("analysis-1", {"A": "x" * 60_000})


def test_a_record_s_repr_names_no_secret_and_says_how_it_stands() -> None:
    record = read(nomad_record.opened(job("shell"), {"TOKEN": "hunter2"}))
    assert repr(record) == "Record(open, index=7)"
