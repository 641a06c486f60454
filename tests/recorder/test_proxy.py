"""The proxy: it names requests, passes on streams as they come, and breaks them as its attributes say."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import urllib3

from tests.harness.scripted_server import Conversation, scripted_server
from tests.recorder.proxy import RecordingProxy, classified, recording_proxy

JOBS = "/apis/batch/v1/namespaces/ci/jobs"
WATCH = f"{JOBS}?watch=true"
PAUSE = 0.2


def _stream(conversation: Conversation) -> None:
    """Answer each request: a watch by one line each PAUSE, for ever; others by two bytes."""
    while True:
        if "watch=" not in conversation.receive().path:
            conversation.answer()
            continue
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            conversation.send(b'a\r\n{"a":"b"}\n\r\n')
            time.sleep(PAUSE)


@pytest.fixture
def proxy() -> Iterator[RecordingProxy]:
    with scripted_server(_stream) as server, recording_proxy(server.url, None) as running:
        yield running


def opened(proxy: RecordingProxy, silence: float = 1.0) -> Iterator[bytes]:
    """The pieces of a watch through the proxy."""
    timeout = urllib3.Timeout(connect=1, read=silence)
    answer = urllib3.request("GET", proxy.url + WATCH, timeout=timeout, retries=False, preload_content=False)
    yield from answer.stream()


def test_a_stream_is_passed_on_as_it_comes(proxy: RecordingProxy) -> None:
    began = time.monotonic()
    pieces = opened(proxy)
    assert [next(pieces), next(pieces)] == [b'{"a":"b"}\n'] * 2
    assert time.monotonic() - began < 5 * PAUSE


def test_a_stream_is_cut_after_its_seconds(proxy: RecordingProxy) -> None:
    proxy.cut_seconds = 0.5
    began = time.monotonic()
    with pytest.raises(urllib3.exceptions.HTTPError):
        list(opened(proxy))
    assert 0.4 < time.monotonic() - began < 3
    assert proxy.injected["cut"] == 1


def test_a_stream_that_was_there_before_is_cut_too(proxy: RecordingProxy) -> None:
    pieces = opened(proxy)
    next(pieces)
    proxy.cut_seconds = 0.1
    with pytest.raises(urllib3.exceptions.HTTPError):
        list(pieces)


def test_a_silent_stream_stays_open_and_brings_nothing(proxy: RecordingProxy) -> None:
    proxy.silent_seconds = 0.3
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        list(opened(proxy, silence=1.0))
    assert proxy.injected["silent"] == 1


def test_a_stream_that_has_been_silent_never_goes_on_with_a_gap(proxy: RecordingProxy) -> None:
    proxy.silent_seconds = 0.1
    pieces = opened(proxy, silence=4 * PAUSE)
    next(pieces)
    while not proxy.injected["silent"]:
        time.sleep(0.01)
    proxy.silent_seconds = 0.0
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        list(pieces)


def test_each_second_watch_is_gone_inside_a_good_answer(proxy: RecordingProxy) -> None:
    proxy.gone_every = 2
    assert next(opened(proxy)) == b'{"a":"b"}\n'
    assert b'"code":410' in b"".join(opened(proxy))


def test_closed_means_no_answer_and_open_again_means_answers(proxy: RecordingProxy) -> None:
    proxy.close_all()
    with pytest.raises(urllib3.exceptions.ProtocolError):
        urllib3.request("GET", proxy.url + JOBS, retries=False)
    proxy.closed = False
    assert urllib3.request("GET", proxy.url + JOBS, retries=False).status == 200


def test_requests_are_counted_by_what_they_do(proxy: RecordingProxy) -> None:
    for method, path in (("GET", JOBS), ("PATCH", f"{JOBS}/a"), ("PATCH", f"{JOBS}/b")):
        urllib3.request(method, proxy.url + path, retries=False)
    assert proxy.counts() == {("list", "jobs"): 1, ("patch", "jobs"): 2}


@pytest.mark.parametrize(
    ("method", "path", "verb", "resource"),
    [
        ("GET", JOBS, "list", "jobs"),
        ("GET", f"{JOBS}?limit=500&continue=x", "list", "jobs"),
        ("GET", f"{JOBS}?watch=1&resourceVersion=7", "watch", "jobs"),
        ("GET", f"{JOBS}/a", "get", "jobs"),
        ("POST", JOBS, "create", "jobs"),
        ("GET", "/api/v1/namespaces/ci/pods/a/log?container=marvin", "get", "pods/log"),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/ci/leases/t", "update", "leases"),
        ("GET", "/v1/event/stream?index=3", "watch", "event"),
        ("GET", "/v1/jobs?namespace=ci", "list", "jobs"),
        ("PUT", "/v1/var/nomad/jobs/a?cas=0", "update", "var"),
    ],
)
def test_a_request_is_named_in_kubernetes_words(method: str, path: str, verb: str, resource: str) -> None:
    request = classified(method, path)
    assert (request.verb, request.resource) == (verb, resource)
