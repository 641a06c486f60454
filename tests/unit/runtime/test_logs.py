"""runner.runtime.logs: one JSON object a line, with secrets masked in every field."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.runtime.logs import JsonLines, log_command
from tests.conftest import ROOT


def line(message: Any, *arguments: Any, **extra: Any) -> dict[str, Any]:
    """One record, as it is written."""
    exc_info = extra.pop("exc_info", None)
    record = logging.LogRecord("orchestrator.test", logging.WARNING, __file__, 1, message, arguments, exc_info)
    record.created = 1_800_000_000.25
    vars(record).update(extra)
    text = JsonLines().format(record)
    assert "\n" not in text
    fields: dict[str, Any] = json.loads(text)
    return fields


def test_a_record_is_one_object_with_time_level_and_name() -> None:
    assert line("%s jobs", 3) == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "warning",
        "logger": "orchestrator.test",
        "message": "3 jobs",
    }


def test_extra_values_become_fields() -> None:
    seen = line("done", request_id="r", count=2, nested={"a": [1, None]}, thing=logging)
    assert (seen["request_id"], seen["count"], seen["nested"]) == ("r", 2, {"a": [1, None]})
    assert seen["thing"].startswith("<module")


def test_an_exception_is_in_the_same_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        seen = line("failed", exc_info=sys.exc_info())
    assert seen["error"].startswith("Traceback")
    assert seen["error"].endswith("ValueError: two\nlines")


@pytest.mark.parametrize(
    "secret",
    [
        "https://user:hunter2@git.example/x",
        "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nhunter2",
        "https://s3/x?X-Amz-Signature=hunter2",
    ],
)
def test_a_secret_is_masked_in_every_field(secret: str) -> None:
    try:
        raise ValueError(secret)
    except ValueError:
        seen = line(
            "a %s b", secret, exc_info=sys.exc_info(), url=secret, nested={"deep": [secret]}, thing=Exception(secret)
        )
    assert "hunter2" not in json.dumps(seen)
    assert seen["logger"] == "orchestrator.test"


@pytest.mark.parametrize(
    "extra",
    [{"name_": "\ud800"}, {"x": {None: 1}}, {"x": {("a", 1): 1}}, {"x": 10**400}, {"x": float("nan")}, {"x": {1, "a"}}],
)
def test_values_that_json_cannot_hold_are_written_escaped(extra: dict[str, Any]) -> None:
    seen = line("kept", **extra)
    assert "kept" in seen["message"]
    assert set(extra) <= set(seen)


@given(st.text() | st.text(st.characters(categories=["Cs", "Cc", "L"])))
def test_any_message_is_one_line(message: str) -> None:
    assert set(line("%s", message)) == {"time", "level", "logger", "message"}


def test_the_settings_write_these_lines_to_standard_error() -> None:
    # In a process of its own: dictConfig closes the handlers of pytest.
    program = """
import logging.config
from runner.runtime import logs
logging.config.dictConfig(logs.settings("DEBUG"))
logging.getLogger("orchestrator.x").debug("said", extra={"count": 1})
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    seen = json.loads(done.stderr)
    assert (seen["message"], seen["count"], seen["level"]) == ("said", 1, "debug")


def test_the_command_log_writes_one_line_for_each_command(capfd: pytest.CaptureFixture[str]) -> None:
    log_command("accepted", request_id="r", jobs={"analysis-s0-r-1-1": "created"}, milliseconds=1.5)
    (text,) = capfd.readouterr().err.splitlines()
    seen = json.loads(text)
    assert seen.pop("time").endswith("Z")
    assert seen == {
        "level": "info",
        "logger": "orchestrator.commands",
        "message": "accepted",
        "request_id": "r",
        "jobs": {"analysis-s0-r-1-1": "created"},
        "milliseconds": 1.5,
    }
