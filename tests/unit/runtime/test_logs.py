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

from runner.runtime.logs import LEVEL_VARIABLE, JsonLines, level_of, log_command
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def _at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "orchestrator.commands")


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
logging.getLogger("hpack.hpack").debug("Decoded %s", "authorization: x")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    seen = json.loads(done.stderr)
    assert (seen["message"], seen["count"], seen["level"]) == ("said", 1, "debug")


UNSEEN = [0x7F, 0x80, 0x85, 0x9B, 0x9F, 0x61C, 0x200B, 0x200E, 0x200F, 0x2028, 0x202A, 0x202E, 0x2066, 0x2069, 0xFEFF]


@pytest.mark.parametrize("code", UNSEEN)
def test_a_character_that_a_terminal_obeys_or_hides_is_escaped_in_every_log(
    code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    record = logging.LogRecord("x", logging.INFO, "", 1, "a%sb", (chr(code),), None)
    vars(record)["field" + chr(code)] = {"deep" + chr(code): [chr(code)]}
    text = JsonLines().format(record)
    log_command("done", request_id=chr(code))
    written = capfd.readouterr().err
    for said in (text, written):
        assert chr(code) not in said
        assert f"\\u{code:04x}" in said
    assert json.loads(text)["message"] == f"a{chr(code)}b"
    assert json.loads(written)["request_id"] == chr(code)


def test_a_key_in_a_field_is_masked_line_by_line() -> None:
    body = "\n".join(["MIIEpAIBAAKCAQEA7bq8ZxKfT3m9RkYw2Vn5cJd8LpQs1HuXe6GtWaBy4ZoMfNiS"] * 3)
    seen = line("printed:\n%s\nnext: x", body, environment={"SSH": body})
    assert seen["message"] == "printed:\n***\nnext: x"
    assert seen["environment"] == {"SSH": "***"}


def test_arguments_that_do_not_fit_the_message_lose_no_line() -> None:
    assert line("%d of %d", "one")["message"] == "%d of %d"


ODD = """
import atexit, gc, logging, sys, threading, traceback, warnings
from runner.runtime import logs
logs.configure("info")
def fail(secret="https://u:hunter2@h/x"):
    raise ValueError("two\\nlines at " + secret)
class Destroyed:
    def __del__(self):
        fail()
thread = threading.Thread(target=fail, name="worker-1"); thread.start(); thread.join()
Destroyed(); gc.collect()
warnings.warn("take care\\nplease", stacklevel=1)
print("printed\\n\\nby a library", file=sys.stderr)
try:
    fail()
except ValueError:
    traceback.print_exc()
sys.stderr.write("no line feed "); sys.stderr.write("at its end")
logging.getLogger("grpclib.server").error("Application error", exc_info=KeyError("\\x9b"))
logging.getLogger("orchestrator").info("%d", "not a number")
atexit.register(fail)
fail()
"""


def test_everything_on_standard_error_is_one_object_a_line() -> None:
    done = subprocess.run([sys.executable, "-c", ODD], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    seen = [json.loads(text) for text in done.stderr.splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(each) for each in seen)
    assert "hunter2" not in done.stderr
    messages = [each["message"] for each in seen]
    assert messages[0] == "uncaught ValueError (worker-1)"
    assert "uncaught ValueError" in messages
    assert {"printed", "by a library", "no line feed at its end", "Application error", "%d"} <= set(messages)
    assert any("take care" in message for message in messages)
    assert any("atexit" in message for message in messages)
    traces = [each["error"] for each in seen if "error" in each]
    assert len(traces) >= 6
    assert all(trace.startswith("Traceback") or "KeyError" in trace for trace in traces)


@pytest.mark.parametrize(
    ("variable", "level"),
    [("debug", "DEBUG"), ("WARNING", "WARNING"), ("", "INFO"), ("loud", "INFO"), (None, "INFO")],
)
def test_the_level_is_that_of_the_variable(variable: str | None, level: str) -> None:
    assert level_of({} if variable is None else {LEVEL_VARIABLE: variable}) == level


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


def test_the_command_log_honours_the_level(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "orchestrator.commands")
    log_command("accepted", request_id="r")
    assert capfd.readouterr().err == ""
