"""`cancel_check_run`: stop one analysis, whether or not it has come yet."""

from __future__ import annotations

from msgspec import field

from runner.payloads.fields import Id, Key, Line, OptionalSerial, Payload, Request, Serial


class AnalysisMeta(Payload, frozen=True):
    """The analysis to stop."""

    run_id: Id
    run_serial: Serial
    check_seq: Serial


class CancelCheckRun(Request, frozen=True):
    """The request. `run_id` and `run_serial` are those of the cancellation itself."""

    run_id: Id
    analysis_meta: AnalysisMeta
    run_serial: OptionalSerial = ""
    meta: dict[Key, Line] = field(default_factory=dict, name="_meta")
