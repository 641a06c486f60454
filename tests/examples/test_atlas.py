"""The example atlas: whose results it takes, what it shows, and how it sends."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
from click.testing import CliRunner

from examples.atlas import page
from examples.atlas.__main__ import main as atlas_command
from examples.atlas.application import DOORS
from examples.atlas.orchestrator import NotAccepted, Orchestrator
from examples.atlas.runs import Delivery, Result, Run, Runs
from examples.atlas.tokens import signer
from tests.conftest import KeyPair
from tests.examples.conftest import Atlas

STATUS = {"code": 0, "hmessage": "", "err": ""}
ANALYSIS = DOORS[0]


def request(url: str, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, content, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def body_for(run_id: str, task: str = ANALYSIS.task, **kwargs: Any) -> dict[str, Any]:
    return {
        "id": "x",
        "task": task,
        "kwargs": {"run_id": run_id, "status": STATUS, **kwargs},
        "retries": 0,
    }


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.kind)
def test_a_good_token_is_taken_at_every_door(door: Any, atlas: Atlas) -> None:
    token = atlas.token("r1", door.scope)
    status, text = request(atlas.url, "POST", door.path, body_for("r1", door.task), token)
    assert (status, json.loads(text)) == (200, {"verdict": "taken"})
    assert atlas.run("r1").results[0].kind == door.kind


def _by_hmac(atlas: Atlas, public_key: str) -> str:
    """The runner's public key taken for a shared secret (RFC 8725, 2.1)."""
    claims = _good(atlas).split(".")[1]
    header = _base64url(b'{"alg":"HS256","typ":"JWT"}')
    signed = f"{header}.{claims}"
    digest = hmac.new(public_key.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_base64url(digest)}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _by_another_key(atlas: Atlas, key: KeyPair) -> str:
    return replace(atlas, private_key=key.private).token("r1", "analysis.*")


def _good(atlas: Atlas, **claims: Any) -> str:
    return atlas.token("r1", "analysis.*", **claims)


FORGERIES: dict[str, tuple[int, str, Callable[[Atlas, KeyPair, KeyPair], str]]] = {
    "none": (401, "no bearer token", lambda *_: ""),
    "garbage": (401, "not a good one", lambda *_: "a.b.c"),
    "unsigned": (
        401,
        "not signed with RS256",
        lambda *_: jwt.encode({"run_id": "r1"}, "", algorithm="none"),
    ),
    "hmac": (401, "not signed with RS256", lambda atlas, own, _: _by_hmac(atlas, own.public)),
    "another key": (
        401,
        "not signed with the runner's key",
        lambda atlas, _, other: _by_another_key(atlas, other),
    ),
    "expired": (401, "has expired", lambda atlas, *_: _good(atlas, exp=int(time.time()) - 60)),
    "never expires": (401, "lacks a claim", lambda atlas, *_: _good(atlas, exp=None)),
    "no run": (401, "lacks a claim", lambda atlas, *_: _good(atlas, run_id=None)),
    "another issuer": (401, "another runner's", lambda atlas, *_: _good(atlas, iss="runner-2")),
    "another scope": (403, "scope is 'autofix.*'", lambda atlas, *_: _good(atlas, scp="autofix.*")),
    "longer scope": (403, "scope is 'analysis.*x'", lambda a, *_: _good(a, scp="analysis.*x")),
    "another run": (403, "for run 'r2', not for 'r1'", lambda atlas, *_: _good(atlas, run_id="r2")),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_bad_token_is_refused_and_the_refusal_shown(
    forgery: str,
    atlas: Atlas,
    runner_keys: KeyPair,
    atlas_keys: KeyPair,
) -> None:
    status, reason, make = FORGERIES[forgery]
    token = make(atlas, runner_keys, atlas_keys)
    answered, text = request(atlas.url, "POST", ANALYSIS.path, body_for("r1"), token)
    assert (answered, reason in json.loads(text)["verdict"]) == (status, True), text
    assert atlas.runs.all() == []
    (delivery,) = atlas.runs.deliveries()
    assert (delivery.status, delivery.verdict) == (status, json.loads(text)["verdict"])


def test_several_scopes_in_one_token_will_do(atlas: Atlas) -> None:
    token = atlas.token("r1", "autofix.* analysis.*")
    assert request(atlas.url, "POST", ANALYSIS.path, body_for("r1"), token)[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        {"id": "x", "task": ANALYSIS.task, "kwargs": {"status": STATUS}},
        {"id": "x", "task": ANALYSIS.task, "kwargs": {"run_id": ["r1"], "status": STATUS}},
        {"id": "x", "task": ANALYSIS.task, "kwargs": {"run_id": "r1"}},
        body_for("r1", DOORS[1].task),
    ],
)
def test_what_is_no_result_is_refused(body: Any, atlas: Atlas) -> None:
    assert request(atlas.url, "POST", ANALYSIS.path, body, _good(atlas))[0] == 422
    assert atlas.runs.all() == []


def test_snippets_are_stored_by_their_run_and_fetched_by_any(atlas: Atlas) -> None:
    own, other = atlas.token("r1", "autofix.*"), atlas.token("r2", "autofix.*")
    assert request(atlas.url, "PUT", "/snippets/r1/p", b"patch", other)[0] == 403
    assert request(atlas.url, "PUT", "/snippets/r1/p", b"patch")[0] == 401
    assert request(atlas.url, "PUT", "/snippets/r1/p", b"patch", _good(atlas))[0] == 403
    assert request(atlas.url, "GET", "/snippets/r1/p", token=other)[0] == 404
    assert request(atlas.url, "PUT", "/snippets/r1/p", b"patch", own)[0] == 201
    assert request(atlas.url, "GET", "/snippets/r1/p", token=other) == (200, "patch")
    assert request(atlas.url, "GET", "/snippets/r1/p")[0] == 401


@pytest.mark.parametrize(
    ("codes", "jobs", "state"),
    [
        ([], 1, "accepted"),
        ([0], 1, "done"),
        ([0], 2, "accepted"),
        ([0, 0], 2, "done"),
        ([0, 5107], 2, "failed"),
        ([5000], 1, "cancelled"),
        ([5001], 1, "failed"),
    ],
)
def test_a_runs_state_is_what_its_results_say(codes: list[int], jobs: int, state: str) -> None:
    results = tuple(
        Result(id=str(index), kind="analysis", at=0, kwargs={"status": {"code": code}})
        for index, code in enumerate(codes)
    )
    run = Run("r1", "analysis", sent="accepted", jobs=("job",) * jobs, results=results)
    assert (run.state, run.ended) == (state, state != "accepted")


NASTY = "<script>alert(1)</script>\"'&<!--"


class Strict(HTMLParser):
    """Refuses elements that no page of ours has, and ends that fit no beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.scripts += tag == "script"
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def nasty_run() -> Run:
    position = {"begin": {"line": NASTY, "column": NASTY}}
    issue = {
        "issue_code": NASTY,
        "issue_text": NASTY,
        "location": {"path": NASTY, "position": position},
        "meta": {"source": NASTY},
    }
    report = {
        "issues": [issue],
        "patches": [{"path": NASTY, "patch": f"+{NASTY}\n-{NASTY}\n@@{NASTY}\n{NASTY}\n"}],
        "errors": [{"hmessage": NASTY, "level": NASTY}],
    }
    status = {"code": 1, "hmessage": NASTY, "err": NASTY}
    kwargs = {"run_id": NASTY, "status": status, "report": report, "commit_sha": NASTY}
    result = Result(NASTY, NASTY, 0, kwargs)
    return Run(NASTY, NASTY, sent=NASTY, note=NASTY, jobs=(NASTY,), results=(result,))


@pytest.mark.parametrize("live", [True, False])
def test_the_page_escapes_whatever_it_shows(live: bool) -> None:
    delivery = Delivery(0, NASTY, NASTY, 401, NASTY)
    html = page.render([nasty_run()], [delivery], live=live)
    parser = Strict()
    parser.feed(html)
    assert parser.open == []
    assert parser.scripts == int(live)
    assert "<script>alert" not in html
    assert parser.text.count(NASTY) == html.count("&lt;script&gt;") >= 20


def test_the_page_and_the_json_show_what_came(atlas: Atlas) -> None:
    request(atlas.url, "POST", ANALYSIS.path, body_for("r1"), _good(atlas))
    request(atlas.url, "POST", ANALYSIS.path, body_for("r1"))
    connection = http.client.HTTPConnection(urlsplit(atlas.url).netloc)
    connection.request("GET", "/")
    answer = connection.getresponse()
    html = answer.read().decode()
    connection.close()
    assert "script-src 'sha256-" in answer.headers["Content-Security-Policy"]
    for shown in ("r1", "done", "200 taken", "401 there is no bearer token"):
        assert shown in html
    document = json.loads(request(atlas.url, "GET", "/api/runs")[1])
    assert [(run["run_id"], run["state"]) for run in document["runs"]] == [("r1", "done")]
    assert [each["status"] for each in document["deliveries"]] == [200, 401]


class Orchestra:
    """Answers of a pretended Orchestrator, one after the other, and the tokens it was sent."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.tokens: list[str] = []


@pytest.fixture
def orchestra() -> Iterator[tuple[str, Orchestra]]:
    played = Orchestra()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            played.tokens.append(self.headers["Authorization"].removeprefix("Bearer "))
            status, headers, content = played.answers.pop(0)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", played
        finally:
            server.shutdown()
            thread.join()


JOBS = [{"name": "job", "driver": "local", "state": "created"}]
ACCEPTED: tuple[int, dict[str, str], bytes] = (201, {}, json.dumps({"jobs": JOBS}).encode())


def test_a_task_is_repeated_until_it_is_accepted_and_why_is_said(
    orchestra: tuple[str, Orchestra],
    atlas_keys: KeyPair,
) -> None:
    url, played = orchestra
    problem = json.dumps({"detail": "the pool is full"}).encode()
    played.answers = [(503, {}, b"down"), (429, {"Retry-After": "3"}, problem), ACCEPTED]
    pauses: list[float] = []
    reasons: list[str] = []
    orchestrator = Orchestrator(url, signer(atlas_keys.private, "runner-1"), pauses.append)
    jobs = orchestrator.send("analysis", {}, 60, lambda reason, _: reasons.append(reason))
    assert jobs == JOBS
    assert pauses == [0.25, 3.0]
    assert reasons == [f"{url} answered 503: down", f"{url} answered 429: the pool is full"]
    claims = jwt.decode(played.tokens[0], atlas_keys.public, algorithms=["RS256"])
    assert claims["runner_id"] == "runner-1"
    assert 0 < claims["exp"] - time.time() <= 300


@pytest.mark.parametrize("status", [400, 401, 403, 409, 413, 415, 422])
def test_a_refusal_for_good_is_not_repeated(
    status: int,
    orchestra: tuple[str, Orchestra],
    atlas_keys: KeyPair,
) -> None:
    url, played = orchestra
    errors = {"detail": "no", "errors": [{"pointer": "/run_id", "message": "is required"}]}
    played.answers = [(status, {}, json.dumps(errors).encode())]
    orchestrator = Orchestrator(url, signer(atlas_keys.private, "runner-1"))
    with pytest.raises(NotAccepted, match="/run_id is required"):
        orchestrator.send("analysis", {}, 60, lambda *_: None)
    assert len(played.tokens) == 1


def test_patience_ends_with_the_last_reason(atlas_keys: KeyPair) -> None:
    orchestrator = Orchestrator("http://127.0.0.1:9", signer(atlas_keys.private, "r"))
    with pytest.raises(NotAccepted, match="cannot be reached"):
        orchestrator.send("analysis", {}, 0.1, lambda *_: None)


def test_whoever_waits_is_woken_by_a_result() -> None:
    runs = Runs()
    waiting = threading.Thread(target=runs.wait, args=(60,))
    waiting.start()
    while waiting.is_alive():
        runs.take("analysis", "x", {"run_id": "r1", "status": STATUS})
        runs.remember("/", "r1", 200, "taken")
        waiting.join(0.01)
    assert runs.all()[0].state == "done"


def test_keys_are_made_once_and_kept_private(tmp_path: Path) -> None:
    made = CliRunner().invoke(atlas_command, ["keys", str(tmp_path / "keys")])
    assert made.exit_code == 0
    names = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()}
    assert {name: mode for name, mode in names.items() if ".pub" not in name} == {
        "runner.pem": 0o600,
        "atlas.pem": 0o600,
    }
    again = CliRunner().invoke(atlas_command, ["keys", str(tmp_path / "keys")])
    assert again.exit_code == 1
    assert "is there already" in again.output


def test_send_prints_the_jobs(
    orchestra: tuple[str, Orchestra],
    atlas_keys: KeyPair,
    tmp_path: Path,
) -> None:
    url, played = orchestra
    played.answers = [ACCEPTED]
    key = tmp_path / "atlas.pem"
    key.write_text(atlas_keys.private)
    flags = ["--to", url, "--runner-id", "runner-1", "--key", str(key)]
    sent = CliRunner().invoke(atlas_command, ["send", "analysis", "-", *flags], input="{}")
    assert sent.exit_code == 0, sent.output
    assert sent.output.split() == ["created", "local", "job"]
