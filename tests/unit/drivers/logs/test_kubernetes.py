"""The log of a Job's pod, stream by stream, against a scripted API server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from runner.drivers.kubernetes.namespace import KubernetesNamespace
from runner.drivers.logs import kubernetes
from runner.drivers.logs.following import follow
from runner.drivers.logs.kubernetes import KubernetesLogSource
from runner.errors import Rejected, Unavailable
from runner.observation import Observation
from runner.runtime.clock import SystemClock
from tests.harness.clock import ManualClock
from tests.harness.scripted_server import Conversation, scripted_server
from tests.unit.drivers.kubernetes.apiserver import Session, client_of, is_silent, job, pod, refuses, sends

RUNS, ENDED = pod("a", 1), pod("a", 1, exited=0)
SEEN = Observation(name="a", driver="kubernetes", pool="", place="ci", identity="uid-a", phase="running", created=1.0)


def at(second: int, text: str, *, fraction: str = "000000001", zone: str = "Z") -> bytes:
    """A line as the kubelet sends it."""
    return f"2026-11-27T10:00:{second:02}.{fraction}{zone} {text}\n".encode()


class LogServer:
    """Has one Job and one pod. Each request for a log takes the next script, and first changes the pod to the next."""

    def __init__(self) -> None:
        self.pods: list[Any] = [RUNS]
        self.logs: list[Session] = []
        self.asked: list[dict[str, str]] = []

    def serve(self, conversation: Conversation) -> None:
        while True:
            url = urlsplit(conversation.receive().path)
            if url.path.endswith("/log"):
                self.asked.append({name: values[0] for name, values in parse_qs(url.query).items()})
                self.pods = self.pods[1:] or self.pods
                self.logs.pop(0)(conversation)
                return
            found = {"items": self.pods[:1]} if url.path.endswith("/pods") else job("a", 1)
            conversation.answer(200, json.dumps(found).encode())

    @property
    def since(self) -> list[str]:
        return [query.get("sinceTime", "") for query in self.asked]


Follow = Callable[..., str]


@pytest.fixture
def server() -> LogServer:
    return LogServer()


@pytest.fixture
def text_of(server: LogServer, tmp_path: Path) -> Iterator[Follow]:
    """Follows the log to its end and gives its text."""
    with scripted_server(server.serve) as scripted:
        namespace = KubernetesNamespace(client_of(scripted.url, tmp_path), "ci", lambda _deadline: iter([None]))

        def text_of() -> str:
            texts: list[str] = []
            source = KubernetesLogSource(namespace, SEEN, "", SystemClock())
            follow(source, lambda _container, text: texts.append(text), ManualClock())
            return "".join(texts)

        yield text_of


def test_a_stream_that_is_cut_goes_on_where_it_ended(server: LogServer, text_of: Follow) -> None:
    server.pods = [RUNS, RUNS, ENDED]
    one, two, three, four = at(1, "one"), at(2, "two"), at(2, "three", fraction="000000002"), at(3, "four")
    server.logs = [
        sends(one, two, three[:30], end=False),  # cut within a line
        sends(two, three, end=False),  # cut between two
        sends(three, four),
    ]
    server.logs[2] = lambda conversation: conversation.answer(200, two + three + four + b"2026-11-27T10:00:03.5Z last")
    assert text_of() == "one\ntwo\nthree\nfour\nlast\n"
    assert server.since == ["", at(2, "").split()[0].decode(), three.split()[0].decode()]


def test_lines_of_one_moment_are_not_lost_and_not_repeated(server: LogServer, text_of: Follow) -> None:
    server.pods = [RUNS, RUNS, ENDED]
    lines = [at(1, name) for name in "abcde"]
    server.logs = [
        sends(*lines[:2], end=False),
        sends(*lines[:4], end=False),
        lambda conversation: conversation.answer(200, b"".join(lines)),
    ]
    assert text_of() == "a\nb\nc\nd\ne\n"


def test_summer_time_ends_while_a_log_is_followed(server: LogServer, text_of: Follow) -> None:
    """The node writes its local time: the later line has the lesser number of hours."""
    server.pods = [RUNS, ENDED]
    early, late = b"2026-10-25T02:59:59.000000000+02:00 early\n", b"2026-10-25T02:00:01.000000000+01:00 late\n"
    server.logs = [sends(early, end=False), lambda conversation: conversation.answer(200, early + late)]
    assert text_of() == "early\nlate\n"


def test_a_line_without_a_time_is_a_message(server: LogServer, text_of: Follow) -> None:
    server.pods = [RUNS, ENDED]
    server.logs = [sends(at(1, "one"), b"rpc error: no such container\n"), sends()]
    assert text_of() == "one\nrpc error: no such container\n"


def test_carriage_returns_end_no_line(server: LogServer, text_of: Follow) -> None:
    server.pods = [RUNS, ENDED]
    progress = at(1, "10%\r20%\rdone\r")
    server.logs = [sends(end=False), lambda conversation: conversation.answer(200, progress)]
    assert text_of() == "10%\r20%\rdone\r\n"


def test_a_silent_stream_is_opened_again(server: LogServer, text_of: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "SILENCE_SECONDS", 0.2)
    server.pods = [RUNS, RUNS, ENDED]
    server.logs = [is_silent, sends(at(1, "one")), sends()]
    assert text_of() == "one\n"


def test_a_node_that_does_not_answer_is_an_error_while_the_job_runs(server: LogServer, text_of: Follow) -> None:
    server.logs = [refuses(500, "dial tcp 10.0.0.1:10250: no route to host")] * 200
    with pytest.raises(Unavailable, match="no route to host"):
        text_of()


def test_a_node_that_does_not_answer_ends_nothing_but_the_log_once_the_job_has_ended(
    server: LogServer, text_of: Follow
) -> None:
    server.pods = [RUNS, ENDED]
    server.logs = [sends(at(1, "one")), refuses(502, "no route to host")]
    assert text_of() == "one\n"


def test_a_missing_right_is_said_at_once(server: LogServer, text_of: Follow) -> None:
    server.logs = [refuses(403, 'User "u" cannot get resource "pods/log"')]
    with pytest.raises(Rejected, match="get pods/log in namespace ci"):
        text_of()


def test_a_replacement_of_a_disrupted_pod_is_followed_too(server: LogServer, text_of: Follow) -> None:
    second = {**pod("a", 3, name="b", second=1)}
    server.pods = [RUNS, second, pod("a", 3, name="b", second=1, exited=0)]
    server.logs = [sends(at(1, "one")), sends(at(1, "again")), sends()]
    assert text_of() == "one\nagain\n"
