"""marvin publishes every end, also a failure: once, to atlas only, within the time limit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.examples.conftest import Atlas, Program
from tests.examples.marvin_flags import UNUSED, analyze_flags, write_code

DONE, FAILED, BAD_ARGUMENTS, NOT_ACCEPTED = 0, 1, 2, 3


class Server:
    """The answer of a server, and the tokens that it got."""

    def __init__(self) -> None:
        self.status = 200
        self.location = ""
        self.tokens: list[str] = []


@pytest.fixture
def server() -> Iterator[tuple[str, Server]]:
    answers = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answers.tokens.append(self.headers["Authorization"])
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(answers.status)
            if answers.location:
                self.send_header("Location", answers.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}", answers
        finally:
            httpd.shutdown()
            thread.join()


@pytest.mark.parametrize("status", [201, 202, 204, 301, 307, 400, 401, 500, 503])
def test_only_a_200_counts_as_accepted_and_nothing_is_repeated(
    status: int, server: tuple[str, Server], marvin: Program, root: Path
) -> None:
    write_code(root, {"a.py": UNUSED})
    url, answers = server
    answers.status = status
    answers.location = f"{url}/elsewhere" if status in (301, 307) else ""
    ended = marvin(*analyze_flags("r1"), RESULT_HTTP_URL=url, RESULT_HTTP_TOKEN="t0k3n")
    assert ended.returncode == NOT_ACCEPTED
    assert str(status) in ended.stderr
    assert answers.tokens == ["Bearer t0k3n"]
    assert "t0k3n" not in ended.stderr


@pytest.mark.parametrize("url", ["", "file:///dev/null", "http://127.0.0.1:9/"])
def test_a_url_that_accepts_no_result_is_reported(url: str, marvin: Program, root: Path) -> None:
    write_code(root, {"a.py": UNUSED})
    ended = marvin(*analyze_flags("r1"), RESULT_HTTP_URL=url)
    assert ended.returncode == NOT_ACCEPTED
    assert "could not be published" in ended.stderr


def test_a_second_run_of_the_same_job_publishes_the_same_id(
    marvin: Program, root: Path, atlas: Atlas, run_id: str
) -> None:
    write_code(root, {"a.py": UNUSED})
    for _ in range(2):
        ended = marvin(*analyze_flags(run_id), **atlas.publisher("analysis", run_id))
        assert ended.returncode == DONE
    assert [each.verdict for each in atlas.runs.deliveries()] == ["accepted", "duplicate"]


@pytest.mark.parametrize(
    ("config", "code", "reason"),
    [
        ("not json", True, "--config is not JSON"),
        ("[]", True, "--config must be a JSON object"),
        ("{}", False, "There is no code in"),
        ('{"exclude_patterns": [1]}', True, "The analysis failed: AttributeError."),
    ],
)
def test_a_failure_is_published_with_a_reason(
    config: str, code: bool, reason: str, marvin: Program, root: Path, atlas: Atlas, run_id: str
) -> None:
    if code:
        write_code(root, {"a.py": UNUSED})
    flags = analyze_flags(run_id)
    ended = marvin(*flags[:2], "--config", config, **atlas.publisher("analysis", run_id))
    assert ended.returncode == FAILED
    kwargs = atlas.result(run_id)
    assert kwargs["status"]["code"] == 1
    assert kwargs["status"]["hmessage"].startswith(reason)
    assert kwargs["report"]["errors"][0]["level"] == 1
    assert set(kwargs["report"]) == {
        *("issues", "metrics", "is_passed", "errors", "file_meta", "extra_data"),
    }


def test_the_end_by_the_time_limit_is_published(
    marvin: Program, root: Path, atlas: Atlas, run_id: str, tmp_path: Path
) -> None:
    write_code(root, {"a.py": UNUSED})
    environment = {**atlas.publisher("analysis", run_id), "TIME_LIMIT": "0.000001"}
    ended = marvin(*analyze_flags(run_id), **environment)
    assert ended.returncode == FAILED
    assert atlas.result(run_id)["status"] == {
        "code": 2,
        "hmessage": "It was not done within the time limit of 0 s.",
        "err": "OutOfTime('It was not done within the time limit of 0 s.')",
    }


@pytest.mark.parametrize("toml", ["no toml", "", "runSerial = '0'"])
def test_without_a_run_id_nothing_is_published(toml: str, marvin: Program) -> None:
    ended = marvin("--analyze", toml, "--config", "{}")
    assert ended.returncode == BAD_ARGUMENTS
    assert "--analyze cannot be read" in ended.stderr


def test_an_argument_may_be_a_reference_to_a_variable(marvin: Program, root: Path, atlas: Atlas, run_id: str) -> None:
    write_code(root, {"a.py": UNUSED})
    _, toml, _, config = analyze_flags(run_id)
    environment = {**atlas.publisher("analysis", run_id), "CONFIG": config}
    ended = marvin("--analyze", toml, "--config", "$(CONFIG)", **environment)
    assert ended.returncode == DONE, ended.stderr
