"""gunicorn's settings come from the section `http`, in one variable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.functions.conftest import Server
from tests.harness.processes import Processes, eventually, free_port


@pytest.mark.parametrize(
    ("variables", "messages"),
    [
        ({"ORCHESTRATOR_HTTP": '{"bind": "x", "workers": 0}'}, ("/http/bind must be", "/http/workers must be")),
        ({"ORCHESTRATOR_HTTP": ""}, ("ORCHESTRATOR_HTTP is empty", "python -m runner section http")),
        ({"ORCHESTRATOR_HTTP_WORKERS": "2"}, ("ORCHESTRATOR_HTTP_WORKERS is no longer read", "http.workers")),
    ],
)
def test_a_wrong_variable_ends_gunicorn_with_the_exit_code_for_configuration(
    processes: Processes, variables: dict[str, str], messages: tuple[str, ...]
) -> None:
    process = processes.python("-m", "gunicorn", "-c", "gunicorn.conf.py", "functions.bundle:app", **variables)
    assert process.ended() == 3
    assert [message for message in messages if message not in process.said()] == []
    assert "Traceback" not in process.said()


def test_it_starts_as_many_workers_as_the_section_says(
    processes: Processes, serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve("functions.analysis:app", tmp_path / "no.sock")
    eventually(lambda: len(server.process.children()) == 1, "its one worker runs")
    again = processes.gunicorn("functions.analysis:app", free_port(), tmp_path / "no.sock", workers=3)
    eventually(lambda: len(again.children()) == 3, "its three workers run")
