"""CurlHttpClient.stream: lines as they arrive, and every way in which such a response ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import gevent
import pytest

from runner.drivers.http import lines
from runner.drivers.http.client import HttpResponse, Route, Unsettled
from runner.drivers.http.curl import CurlHttpClient
from runner.errors import Timeout, Unavailable
from runner.runtime.clock import SystemClock
from tests.harness.deadlines import within
from tests.harness.scripted_server import Conversation, Script, scripted_server

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunks(*parts: bytes, end: bool = True) -> Script:
    """Sends each part in a chunk and a packet of its own. Then ends the response, or closes the connection."""

    def script(conversation: Conversation) -> None:
        conversation.receive()
        conversation.send(HEAD)
        for part in parts:
            conversation.send(chunk(part))
            conversation.wait(0.02)
        if end:
            conversation.send(b"0\r\n\r\n")
            conversation.wait(20)

    return script


class Received(list[bytes]):
    """The lines so far, and the time of each."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def __call__(self, line: bytes) -> None:
        self.append(line)
        self.at.append(time.monotonic())


def stream(
    client: CurlHttpClient, url: str, received: Callable[[bytes], None], *, seconds: float = 5.0, silence: float = 5.0
) -> HttpResponse:
    route = Route(url=url, server="the server", silence_seconds=1)  # of a request; not of a stream
    return client.stream(route, "/watch?x=1", within(seconds), received, headers=["A: b"], silence_seconds=silence)


@pytest.fixture
def received() -> Received:
    return Received()


@pytest.fixture
def short_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 1 << 20)


class TestLines:
    @pytest.mark.parametrize(
        "parts",
        [
            (b'{"a":1}\n{"b":2}\n\n{"c":3}\n',),
            (b'{"a"', b':1}\n{"b":2', b"}\n", b'\n{"c":3}', b"\n"),
            (b'{"a":1}', b'\n{"b":2}\n\n{"c":3', b"}\n"),
        ],
    )
    def test_are_whole_however_they_are_cut(
        self, client: CurlHttpClient, received: Received, parts: tuple[bytes, ...]
    ) -> None:
        with scripted_server(chunks(*parts)) as server:
            assert stream(client, server.url, received) == HttpResponse(200, b"")
        assert received == [b'{"a":1}', b'{"b":2}', b"", b'{"c":3}']
        (asked,) = server.asked
        assert (asked.method, asked.path, asked.headers["a"]) == ("GET", "/watch?x=1", "b")

    def test_arrive_one_by_one_and_not_at_the_end(self, client: CurlHttpClient, received: Received) -> None:
        sent: list[float] = []

        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.send(HEAD)
            for _ in range(3):
                sent.append(time.monotonic())
                conversation.send(chunk(b"{}\n"))
                conversation.wait(0.4)
            conversation.send(b"0\r\n\r\n")

        with scripted_server(script) as server:
            stream(client, server.url, received)
        delays = [there - here for here, there in zip(sent, received.at, strict=True)]
        assert max(delays) < 0.3

    def test_of_many_packets_are_read_in_linear_time(self, client: CurlHttpClient, received: Received) -> None:
        line = b"x" * 8_000_000

        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.send(HEAD + chunk(line + b"\n") + b"0\r\n\r\n")

        with scripted_server(script) as server:
            stream(client, server.url, received)
        assert received == [line]

    @pytest.mark.usefixtures("short_lines")
    @pytest.mark.parametrize("status", [200, 500])
    def test_longer_than_the_limit_end_the_stream(
        self, client: CurlHttpClient, received: Received, status: int
    ) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.answer(status, b"x" * 2_000_000)

        with scripted_server(script) as server, pytest.raises(Unsettled, match="the server sent a line of more than 1"):
            stream(client, server.url, received)
        assert received == []


class TestEnd:
    def test_within_a_line_is_unsettled(self, client: CurlHttpClient, received: Received) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.send(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"a":1}\n{"b"')

        with scripted_server(script) as server, pytest.raises(Unsettled, match="within a line"):
            stream(client, server.url, received)
        assert received == [b'{"a":1}']

    @pytest.mark.parametrize("last", [b'{"b"', b'{"b":2}\n'])
    def test_before_the_last_chunk_is_unsettled(self, client: CurlHttpClient, received: Received, last: bytes) -> None:
        with (
            scripted_server(chunks(b'{"a":1}\n', last, end=False)) as server,
            pytest.raises(Unsettled, match="did not answer"),
        ):
            stream(client, server.url, received)
        assert received[0] == b'{"a":1}'

    def test_of_the_deadline_is_unsettled(self, client: CurlHttpClient, received: Received) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.send(HEAD)
            for _ in range(100):
                conversation.send(chunk(b"{}\n"))
                conversation.wait(0.05)

        began = time.monotonic()
        with scripted_server(script) as server, pytest.raises(Unsettled):
            stream(client, server.url, received, seconds=0.5)
        assert 0.4 < time.monotonic() - began < 3
        assert received

    def test_of_a_deadline_that_has_passed_sends_nothing(self, client: CurlHttpClient, received: Received) -> None:
        with scripted_server() as server, pytest.raises(Timeout, match="GET /watch"):
            stream(client, server.url, received, seconds=-1)
        assert server.connections == 0

    def test_a_refused_connection_is_unavailable_and_not_unsettled(
        self, client: CurlHttpClient, received: Received
    ) -> None:
        with scripted_server() as server:
            url = server.url
        with pytest.raises(Unavailable, match="cannot be reached") as caught:
            stream(client, url, received)
        assert not isinstance(caught.value, Unsettled)

    @pytest.mark.parametrize("status", [307, 400, 401, 410, 429, 503])
    def test_with_an_error_has_its_body_and_no_line(
        self, client: CurlHttpClient, received: Received, status: int
    ) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.answer(status, b'{"message":\n"no"}\n', {"Retry-After": "7"})

        with scripted_server(script) as server:
            assert stream(client, server.url, received) == HttpResponse(status, b'{"message":\n"no"}\n', 7)
        assert received == []


class TestSilence:
    @pytest.mark.parametrize("before", [b"", HEAD, HEAD + chunk(b'{"a":1}\n')])
    def test_is_unsettled_long_before_a_late_deadline(
        self, client: CurlHttpClient, received: Received, before: bytes
    ) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.send(before)
            conversation.wait(20)

        began = time.monotonic()
        with scripted_server(script) as server, pytest.raises(Unsettled, match=r"the server was silent for 0\.5 s"):
            stream(client, server.url, received, seconds=60, silence=0.5)
        assert 0.5 < time.monotonic() - began < 4

    def test_is_ended_by_a_single_byte(self, client: CurlHttpClient, received: Received) -> None:
        """libcurl's own bound is an average of bytes in a second, to which one byte in two seconds counts as none."""

        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.send(HEAD)
            for _ in range(3):
                conversation.wait(2)
                conversation.send(chunk(b"\n"))
            conversation.send(b"0\r\n\r\n")

        with scripted_server(script) as server:
            stream(client, server.url, received, seconds=60, silence=3)
        assert received == [b""] * 3


class TestReceiver:
    @pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, Unavailable])
    def test_ends_the_stream_by_an_exception_that_arrives_unchanged(
        self, client: CurlHttpClient, kind: type[BaseException]
    ) -> None:
        cause = OSError()
        raised = kind("stop")
        raised.__cause__ = cause
        lines: list[bytes] = []

        def refuse(line: bytes) -> None:
            lines.append(line)
            raise raised

        with scripted_server(chunks(b"1\n2\n", b"3\n")) as server, pytest.raises(kind) as caught:
            stream(client, server.url, refuse)
        assert caught.value is raised
        assert caught.value.__cause__ is cause
        assert lines == [b"1"]

    def test_whose_stream_was_ended_leaves_no_bytes_to_the_next_request(self, client: CurlHttpClient) -> None:
        def script(conversation: Conversation) -> None:
            while True:
                if conversation.receive().path.startswith("/watch"):
                    conversation.send(HEAD + chunk(b"1\n2\n") + b"0\r\n\r\n")
                else:
                    conversation.answer(200, b"complete")

        def refuse(_: bytes) -> None:
            raise ValueError

        with scripted_server(script) as server:
            route = Route(url=server.url, server="the server")
            assert client.request(route, "GET", "/", within(5)).body == b"complete"
            with pytest.raises(ValueError):  # noqa: PT011
                stream(client, server.url, refuse)
            assert client.request(route, "GET", "/", within(5)).body == b"complete"
            ended = Received()
            assert stream(client, server.url, ended).status == 200
        assert ended == [b"1", b"2"]


def slow(conversation: Conversation) -> None:
    """A stream of one second; other requests are answered at once."""
    while True:
        if conversation.receive().path.startswith("/watch"):
            conversation.send(HEAD)
            conversation.wait(1)
            conversation.send(chunk(b"{}\n") + b"0\r\n\r\n")
        else:
            conversation.answer()


class TestOthers:
    def test_other_threads_send_requests_during_a_stream(self) -> None:
        client = CurlHttpClient(SystemClock())
        with scripted_server(slow) as server:
            streaming = threading.Thread(target=stream, args=(client, server.url, Received()))
            streaming.start()
            began = time.monotonic()
            for _ in range(10):
                client.request(Route(url=server.url), "GET", "/", within(5))
            assert time.monotonic() - began < 0.8
            streaming.join()

    @pytest.mark.usefixtures("cooperating")
    def test_other_greenlets_send_requests_during_a_stream(self) -> None:
        client = CurlHttpClient(SystemClock())
        with scripted_server(slow) as server:
            streaming = gevent.spawn(stream, client, server.url, Received())
            gevent.sleep(0.1)
            asked = [
                gevent.spawn(client.request, Route(url=server.url, server="the server"), "GET", "/", within(5))
                for _ in range(10)
            ]
            began = time.monotonic()
            gevent.joinall(asked, raise_error=True)
            assert time.monotonic() - began < 0.8
            assert not streaming.ready()
            assert streaming.get().status == 200
