"""runner.drivers.printer: what would be created, as YAML and JSON that parse to the same objects."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runner.commands import plan
from runner.config.types import Config
from runner.drivers.kubernetes.manifest import tombstone_manifest
from runner.drivers.printer import MASK, PrinterDriver, as_json, as_yaml, manifests, render
from runner.jobs import Cancellation, JobSpec, Secret
from tests.harness.clock import ManualClock
from tests.harness.deadlines import within
from tests.unit.documents import read, whole


@pytest.fixture
def job(config: Config) -> JobSpec:
    (made,) = plan(read("analysis_run", whole("analysis_run")), config)
    assert isinstance(made, JobSpec)
    return made


@pytest.fixture
def cancellation(config: Config) -> Cancellation:
    (made,) = plan(read("cancel_check_run", whole("cancel_check_run")), config)
    assert isinstance(made, Cancellation)
    return made


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def documents(text: str) -> list[Any]:
    return list(yaml.safe_load_all(text))


def test_a_job_is_printed_with_its_secret_masked(job: JobSpec, config: Config) -> None:
    (made, secret) = documents(render(job, config))
    assert (made["kind"], made["metadata"]["name"]) == ("Job", job.name)
    assert (secret["kind"], secret["stringData"]) == ("Secret", dict.fromkeys(job.secrets, MASK))
    for value in job.secrets.values():
        assert not isinstance(value, Secret) or value.reveal() not in render(job, config)


def test_secret_values_are_printed_if_they_are_given(job: JobSpec, config: Config) -> None:
    (_, secret) = documents(render(job, config, {"SSH_PRIVATE_KEY": "a\nkey"}))
    assert secret["stringData"] == {"SSH_PRIVATE_KEY": "a\nkey"}


def test_a_toml_document_is_printed_line_by_line(job: JobSpec, config: Config) -> None:
    assert any(line.strip() == 'runID = "r-1"' for line in render(job, config).splitlines())


@given(
    st.recursive(
        st.text() | st.text("$(){}:#-'\"\n\t |>&*!%@`\x85\u2028"),
        lambda inner: st.lists(inner, min_size=1) | st.dictionaries(st.text(), inner, min_size=1),
    )
)
def test_printed_values_parse_to_the_same_values(value: Any) -> None:
    assert documents(as_yaml([{"value": value}])) == [{"value": value}]
    assert documents(as_json([{"value": value}])) == [{"value": value}]


def test_json_is_one_line_for_each_object(job: JobSpec, config: Config) -> None:
    lines = as_json(manifests(job, config)).splitlines()
    assert lines[::2] == ["---", "---"]
    assert [json.loads(line)["kind"] for line in lines[1::2]] == ["Job", "Secret"]


def test_the_driver_prints_a_job_once(job: JobSpec, config: Config) -> None:
    out = io.StringIO()
    driver = PrinterDriver(
        config, resolve_secrets=lambda _: {"SSH_PRIVATE_KEY": "secret"}, clock=ManualClock(), out=out
    )
    assert driver.submit(job, within(5)) == "created"
    assert driver.submit(job, within(5)) == "exists"
    assert out.getvalue() == as_json(manifests(job, config))


def test_the_driver_prints_yaml_on_a_terminal(job: JobSpec, config: Config) -> None:
    terminal = Terminal()
    driver = PrinterDriver(config, resolve_secrets=lambda _: {}, clock=ManualClock(), out=terminal)
    assert driver.submit(job, within(5)) == "created"
    assert terminal.getvalue() == render(job, config)


def test_the_driver_prints_the_tombstone_of_a_check_that_was_not_submitted(
    job: JobSpec, cancellation: Cancellation, config: Config
) -> None:
    out = io.StringIO()
    driver = PrinterDriver(config, resolve_secrets=lambda _: {}, clock=ManualClock(), out=out)
    assert driver.cancel(cancellation, within(5), tombstone=False) is None
    assert out.getvalue() == ""
    assert driver.cancel(cancellation, within(5), tombstone=True) == "cancelled"
    assert out.getvalue() == as_json([tombstone_manifest(cancellation, config, config.default_pool)])
    assert driver.submit(job, within(5)) == "cancelled"
    assert driver.cancel(cancellation, within(5), tombstone=True) == "cancelled"
    assert len(documents(out.getvalue())) == 1
