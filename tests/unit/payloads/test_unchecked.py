"""runner.payloads.unchecked: what a function sends to the sidecar is what it has validated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from runner.commands import plan
from runner.config.types import Config
from runner.jobs import JobSpec
from runner.payloads import unchecked
from runner.request_types import REQUEST_TYPES, of_payload
from tests.unit.documents import read, whole

REQUIRED = ("run_id", "run_serial", "vcs_meta", "checks", "autofixer", "transformer", "ssh_meta", "analysis_meta")


def smallest(request_type: str) -> dict[str, Any]:
    """Without the members that have a default."""
    return {name: value for name, value in whole(request_type).items() if name in REQUIRED}


def planned(request: Any) -> list[Any]:
    """The plan, and each job's fingerprint of an earlier release in place of its function."""
    return [
        (msgspec.structs.replace(job, earlier_fingerprint=None), job.earlier_fingerprint and job.earlier_fingerprint())
        if isinstance(job, JobSpec)
        else job
        for job in plan(request, Config())
    ]


def there(request: Any) -> Any:
    """The request as the sidecar has it."""
    return unchecked.decoder(type(request)).decode(unchecked.encode(request))


def decoded(request_type: str, members: dict[str, Any]) -> Any:
    return unchecked.decoder(REQUEST_TYPES[request_type].payload).decode(msgspec.msgpack.encode(members))


def test_a_plan_is_the_same_with_a_request_that_was_sent(request_type: str) -> None:
    for document in (whole(request_type), smallest(request_type)):
        request = read(request_type, document)
        assert planned(there(request)) == planned(request)


def test_so_is_that_of_the_real_samples(sample: Callable[[str], dict[str, Any]]) -> None:
    for request_type, name in (("analysis_run", "analysis"), ("autofix_run", "autofix")):
        request = read(request_type, sample(name))
        assert planned(there(request)) == planned(request)


def test_it_has_its_payload_s_row_fields_and_defaults(request_type: str) -> None:
    request = there(read(request_type, smallest(request_type)))
    row = REQUEST_TYPES[request_type]
    assert of_payload(type(request)) is row
    assert request.__struct_fields__ == row.payload.__struct_fields__
    assert request.meta == {}


def test_no_bound_is_checked_again(request_type: str) -> None:
    members = {**smallest(request_type), "run_id": "not / an id"}
    assert decoded(request_type, members).run_id == "not / an id"


def test_a_field_that_this_release_does_not_know_is_skipped(request_type: str) -> None:
    members = msgspec.msgpack.decode(unchecked.encode(read(request_type, whole(request_type))))
    request = decoded(request_type, {**members, "x_new": {"of": ["the", "next"]}})
    assert planned(request) == planned(read(request_type, whole(request_type)))


def test_another_type_in_a_field_is_an_error_all_the_same() -> None:
    with pytest.raises(msgspec.ValidationError):
        decoded("ssh_verify_run", {**smallest("ssh_verify_run"), "run_id": 5})
