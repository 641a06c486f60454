"""What a driver saw of a job, and how the job ended: the values that drivers and the tracker exchange."""

from __future__ import annotations

from typing import Literal

import msgspec

from runner.jobs import Report

Phase = Literal["waiting", "running", "succeeded", "failed", "gone"]


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """One look at one job. Times are seconds since the epoch, by the cluster's clock."""

    name: str
    driver: str
    pool: str
    phase: Phase
    created: float
    ended: float | None = None
    report: Report | None = None
    fingerprint: str = ""
    cancelled: bool = False
    cancellation: Report | None = None
    reported: bool = False
    timed_out: bool = False
    out_of_memory: bool = False
    disrupted: bool = False
    image_error: str = ""
    unschedulable: str = ""
    configuration_error: str = ""
    init_exit: int | None = None
    main_exit: int | None = None
    message: str = ""
    log_tail: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a job: a stable reason, its code, one sentence for a person, and the evidence."""

    reason: str
    code: int
    hmessage: str
    err: str = ""
