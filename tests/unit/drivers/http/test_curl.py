"""runner.drivers.http.curl: one request and its whole response, against sockets that behave well and badly."""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from runner.drivers.http import curl
from runner.drivers.http.client import HttpResponse, Route, Unsettled
from runner.drivers.http.curl import CurlHttpClient
from runner.errors import Timeout, Unavailable
from runner.runtime import concurrency
from runner.runtime.clock import SystemClock
from tests.cluster.certificates import Authority, Pair
from tests.deadlines import within
from tests.doubles.scripted_server import Conversation, ScriptedServer, scripted_server

SECRET = "s3cr3t-token"


class InGreenlets(CurlHttpClient):
    """Each request in a greenlet, as a worker of the sidecar's pool makes them."""

    def request(self, *args: Any, **named: Any) -> HttpResponse:
        asked = gevent.spawn(super().request, *args, **named)
        gevent.wait([asked])
        reply: HttpResponse = asked.get()
        return reply


@pytest.fixture
def cooperating() -> Iterator[None]:
    """In this thread greenlets wait, as in a worker of the sidecar's pool."""
    concurrency.cooperate(threads=2)
    yield
    del concurrency._here.hub


@pytest.fixture(params=["thread", "greenlet"])
def asking(request: pytest.FixtureRequest) -> CurlHttpClient:
    if request.param == "thread":
        return CurlHttpClient(SystemClock())
    request.getfixturevalue("cooperating")
    return InGreenlets(SystemClock())


def ask(asking: CurlHttpClient, url: str, *, seconds: float = 5.0, **route: object) -> HttpResponse:
    route = {"server": "the server", "trust": "server.caFile", **route}
    return asking.request(Route(url=url, **route), "GET", "/v1/jobs", within(seconds))  # type: ignore[arg-type]


class TestARequest:
    def test_arrives_as_it_was_given(self, asking: CurlHttpClient) -> None:
        with scripted_server() as server:
            route = Route(url=server.url + "/base")
            body = b"x" * 2_000_000
            headers = ["Authorization: Bearer a", "Content-Type: application/merge-patch+json"]
            asking.request(route, "PATCH", "/a/../b%2Fc?d=e%20f", within(5), body=body, headers=headers)
        (asked,) = server.asked
        assert (asked.method, asked.path, asked.body) == ("PATCH", "/base/a/../b%2Fc?d=e%20f", body)
        assert asked.headers["authorization"] == "Bearer a"
        assert asked.headers["content-type"] == "application/merge-patch+json"
        assert asked.headers["user-agent"] == "orchestrator"
        assert "expect" not in asked.headers, "waiting for a 100 costs a round trip"

    def test_has_no_body_unless_it_was_given_one_whatever_came_before(self, asking: CurlHttpClient) -> None:
        with scripted_server() as server:
            route = Route(url=server.url)
            for method, body in (("POST", b"{}"), ("GET", None), ("POST", b"{1}"), ("DELETE", None)):
                asking.request(route, method, "/", within(5), body=body)
        assert [(each.method, each.body) for each in server.asked] == [
            ("POST", b"{}"),
            ("GET", b""),
            ("POST", b"{1}"),
            ("DELETE", b""),
        ]
        assert server.asked[1].headers.keys().isdisjoint({"content-type", "content-length"})

    def test_follows_the_one_before_on_the_same_connection(self, asking: CurlHttpClient) -> None:
        with scripted_server() as server:
            for _ in range(5):
                ask(asking, server.url)
        assert (len(server.asked), server.connections) == (5, 1)

    def test_shares_a_connection_with_no_other_thread(self, asking: CurlHttpClient) -> None:
        with scripted_server() as server:
            for _ in range(3):
                thread = threading.Thread(target=ask, args=(asking, server.url))
                thread.start()
                thread.join()
        assert (len(server.asked), server.connections) == (3, 3)

    def test_that_finds_its_connection_closed_is_sent_on_another(self, asking: CurlHttpClient) -> None:
        """Which whoever writes must know: had the server read the first before it closed, it has been asked twice."""

        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.answer()
            if conversation.number == 1:
                conversation.receive()

        with scripted_server(script) as server:
            route = Route(url=server.url)
            for _ in range(2):
                asking.request(route, "POST", "/", within(5), body=b"{}")
        assert [each.method for each in server.asked] == ["POST", "POST", "POST"]
        assert server.connections == 2

    @pytest.mark.parametrize("broken", ["a\r\nX-Evil: b", "a\nb", "a\0b", "é"])
    def test_with_a_header_that_would_be_two_is_not_sent_and_the_value_not_quoted(
        self, asking: CurlHttpClient, broken: str
    ) -> None:
        with scripted_server() as server:
            headers = [f"Authorization: Bearer {SECRET}{broken}"]
            with pytest.raises(Unavailable, match="Authorization") as caught:
                asking.request(Route(url=server.url), "GET", "/", within(5), headers=headers)
        assert SECRET not in str(caught.value)
        assert not server.asked

    def test_takes_nothing_from_the_environment(
        self, asking: CurlHttpClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login somebody password {SECRET}\n")
        with scripted_server() as server:
            ask(asking, server.url)
        assert "authorization" not in server.asked[0].headers

    def test_speaks_nothing_but_http(self, asking: CurlHttpClient, tmp_path: Path) -> None:
        (tmp_path / "v1").write_text("a file")
        with pytest.raises(Unavailable):
            asking.request(Route(url=f"file://{tmp_path}"), "GET", "/v1", within(5))


class TestAnAnswer:
    @pytest.mark.parametrize("status", [200, 201, 404, 409, 422, 500, 503])
    def test_is_given_whatever_its_status(self, asking: CurlHttpClient, status: int) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.answer(status, b"its own words")

        with scripted_server(script) as server:
            assert ask(asking, server.url) == HttpResponse(status, b"its own words")

    def test_that_redirects_is_not_followed(self, asking: CurlHttpClient) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.answer(307, b"", {"Location": f"http://127.0.0.1:{conversation.number}/elsewhere"})

        with scripted_server(script) as server:
            assert ask(asking, server.url).status == 307
        assert len(server.asked) == 1

    @pytest.mark.parametrize(
        ("value", "seconds"), [("7", 7), ("0", None), ("999999999", 3600), ("soon", None), ("-3", None)]
    )
    def test_says_when_to_come_again(self, asking: CurlHttpClient, value: str, seconds: int | None) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.answer(429, b"", {"Retry-After": value})

        with scripted_server(script) as server:
            assert ask(asking, server.url).retry_after == seconds

    def test_has_those_headers_that_were_asked_for(self, asking: CurlHttpClient) -> None:
        def script(conversation: Conversation) -> None:
            while True:
                conversation.receive()
                conversation.answer(200, b"", {"X-Nomad-NextToken": "a:b", "Date": "then", "Other": "no"})

        with scripted_server(script) as server:
            route = Route(url=server.url)
            asked = asking.request(route, "GET", "/", within(5), wanted=("date", "x-nomad-nexttoken"))
            unasked = asking.request(route, "GET", "/", within(5))
        assert asked.headers == {"x-nomad-nexttoken": "a:b", "date": "then"}
        assert unasked.headers == {}

    def test_may_come_in_chunks_and_pieces(self, asking: CurlHttpClient) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            conversation.wait(0.05)
            conversation.send(b"2\r\nde\r\n0\r\n\r\n")

        with scripted_server(script) as server:
            assert ask(asking, server.url).body == b"abcde"

    def test_over_its_bound_is_none(self, asking: CurlHttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(curl, "MAX_ANSWER", 1000)

        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.answer(200, b"x" * 1001)

        with scripted_server(script) as server, pytest.raises(Unsettled, match=r"(?i)size|large|exceed"):
            ask(asking, server.url)


class TestSilence:
    def test_a_deadline_that_has_passed_sends_nothing(self, asking: CurlHttpClient) -> None:
        with scripted_server() as server, pytest.raises(Timeout, match="GET /v1/jobs"):
            ask(asking, server.url, seconds=-1)
        assert server.connections == 0

    def test_nobody_there_is_known_to_have_applied_nothing(self, asking: CurlHttpClient) -> None:
        with scripted_server() as server:
            url = server.url
        with pytest.raises(Unavailable, match="cannot be reached") as caught:
            ask(asking, url)
        assert not isinstance(caught.value, Unsettled)

    def test_a_name_that_does_not_resolve_is_the_same(self, asking: CurlHttpClient) -> None:
        with pytest.raises(Unavailable, match="cannot be reached") as caught:
            ask(asking, "http://nowhere.invalid:80")
        assert not isinstance(caught.value, Unsettled)

    @pytest.mark.parametrize("how", ["nothing", "half a head", "a byte at a time"])
    def test_no_whole_answer_by_the_deadline_leaves_it_open(self, asking: CurlHttpClient, how: str) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            if how == "half a head":
                conversation.send(b"HTTP/1.1 200")
            if how == "a byte at a time":
                conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(1000):
                    conversation.send(b"x")
                    conversation.wait(0.05)
            conversation.wait(20)

        began = time.monotonic()
        with scripted_server(script) as server, pytest.raises(Unsettled, match="did not answer"):
            ask(asking, server.url, seconds=0.5)
        assert 0.4 < time.monotonic() - began < 3

    def test_silence_is_given_up_long_before_a_late_deadline(self, asking: CurlHttpClient) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.wait(20)

        began = time.monotonic()
        with scripted_server(script) as server, pytest.raises(Unsettled):
            ask(asking, server.url, seconds=60, silence_seconds=1)
        assert time.monotonic() - began < 10

    @pytest.mark.parametrize("how", ["reset", "end", "half an answer"])
    def test_a_connection_that_ends_instead_leaves_it_open(self, asking: CurlHttpClient, how: str) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            if how == "half an answer":
                conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            if how == "reset":
                conversation.reset()

        with scripted_server(script) as server, pytest.raises(Unsettled):
            ask(asking, server.url)
        assert len(server.asked) == 1

    def test_what_failed_leaves_nothing_behind_for_the_next(self, asking: CurlHttpClient) -> None:
        """A late answer to a request that was given up must never be taken for the answer to the one after it."""

        def script(conversation: Conversation) -> None:
            conversation.receive()
            if conversation.number == 1:
                conversation.wait(0.6)
            conversation.answer(200, f"answer {conversation.number}".encode())

        with scripted_server(script) as server:
            with pytest.raises(Unsettled):
                ask(asking, server.url, seconds=0.3)
            time.sleep(0.5)
            assert ask(asking, server.url).body == b"answer 2"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("ca"), "test authority")
    made.create()
    return made


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("stranger"), "somebody else")
    made.create()
    return made


def presenting(pair: Pair, *, clients_of: Authority | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    if clients_of:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients_of.pair.certificate)
    return context


@pytest.fixture
def here(authority: Authority) -> Iterator[ScriptedServer]:
    """A server with a certificate for this very address."""
    with scripted_server(context=presenting(authority.issue("here", hosts=("127.0.0.1",)))) as server:
        yield server


class TestTLS:
    def test_a_server_of_the_named_authority_is_asked(
        self, asking: CurlHttpClient, here: ScriptedServer, authority: Authority
    ) -> None:
        assert ask(asking, here.url, ca_file=str(authority.pair.certificate)).status == 200

    @pytest.mark.parametrize("ca", ["the system's", "a stranger's", "no file"])
    def test_any_other_is_not(self, asking: CurlHttpClient, here: ScriptedServer, stranger: Authority, ca: str) -> None:
        path = {"the system's": "", "a stranger's": str(stranger.pair.certificate), "no file": "/nowhere/ca.pem"}[ca]
        with pytest.raises(Unavailable, match=r"TLS .* check server\.caFile") as caught:
            ask(asking, here.url, ca_file=path)
        assert not isinstance(caught.value, Unsettled)
        assert not here.asked

    def test_nor_one_whose_certificate_is_for_another_name(self, asking: CurlHttpClient, authority: Authority) -> None:
        ca = str(authority.pair.certificate)
        elsewhere = presenting(authority.issue("elsewhere", hosts=("cluster.internal",)))
        with scripted_server(context=elsewhere) as server:
            with pytest.raises(Unavailable, match="TLS"):
                ask(asking, server.url, ca_file=ca)
            assert not server.asked
            assert ask(asking, server.url, ca_file=ca, server_name="cluster.internal").status == 200

    def test_verification_can_be_switched_off_by_a_kubeconfig(
        self, asking: CurlHttpClient, here: ScriptedServer
    ) -> None:
        assert ask(asking, here.url, verify=False).status == 200

    def test_our_own_certificate_is_shown(
        self, asking: CurlHttpClient, authority: Authority, stranger: Authority
    ) -> None:
        server_pair, ca = authority.issue("here", hosts=("127.0.0.1",)), str(authority.pair.certificate)
        ours, foreign = authority.issue("orchestrator"), stranger.issue("orchestrator")
        with scripted_server(context=presenting(server_pair, clients_of=authority)) as server:
            for pair in (None, foreign):
                files = {"cert_file": str(pair.certificate), "key_file": str(pair.key)} if pair else {}
                with pytest.raises(Unavailable):
                    ask(CurlHttpClient(SystemClock()), server.url, ca_file=ca, **files)
            assert not server.asked
            reply = ask(asking, server.url, ca_file=ca, cert_file=str(ours.certificate), key_file=str(ours.key))
        assert reply.status == 200

    def test_files_that_were_written_anew_are_read_anew(
        self,
        asking: CurlHttpClient,
        here: ScriptedServer,
        authority: Authority,
        stranger: Authority,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(curl, "FILES_SECONDS", 0.0)
        ca = tmp_path / "ca.pem"
        ca.write_bytes(authority.pair.certificate.read_bytes())
        assert ask(asking, here.url, ca_file=str(ca)).status == 200
        ca.write_bytes(stranger.pair.certificate.read_bytes())
        os.utime(ca, (1, 1))
        with pytest.raises(Unavailable, match="TLS"):
            ask(asking, here.url, ca_file=str(ca))


class TestAProxy:
    def test_leads_to_the_server_which_is_verified_all_the_same(
        self, asking: CurlHttpClient, here: ScriptedServer, authority: Authority
    ) -> None:
        with scripted_server(Conversation.tunnel) as proxy:
            route = Route(
                url=here.url,
                ca_file=str(authority.pair.certificate),
                proxy=proxy.url,
                proxy_headers=("Proxy-Authorization: Basic abc",),
            )
            headers = [f"Authorization: Bearer {SECRET}"]
            assert asking.request(route, "GET", "/", within(5), headers=headers).status == 200
        (connect,) = proxy.asked
        assert (connect.method, connect.path) == ("CONNECT", f"127.0.0.1:{here.port}")
        assert connect.headers["proxy-authorization"] == "Basic abc"
        assert "authorization" not in connect.headers, "the token is for the server alone"
        assert here.asked[0].headers["authorization"] == f"Bearer {SECRET}"
        assert "proxy-authorization" not in here.asked[0].headers

    def test_that_refuses_is_named_and_its_password_is_not(self, asking: CurlHttpClient) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.answer(407)

        with scripted_server(script) as proxy:
            url = proxy.url.replace("http://", f"http://somebody:{SECRET}@")
            with pytest.raises(Unavailable, match="407") as caught:
                ask(asking, "https://cluster.internal:6443", proxy=url)
            assert SECRET not in str(caught.value) + repr(Route(url="https://x", proxy=url))


@pytest.mark.usefixtures("cooperating")
class TestGreenlets:
    def test_ask_at_once_each_over_a_connection_that_the_next_may_have(self) -> None:
        together = threading.Barrier(16)

        def script(conversation: Conversation) -> None:
            while True:
                asked = conversation.receive()
                if not asked.path.startswith("/alone"):
                    together.wait(5)
                conversation.answer(body=asked.path.encode())

        asking = CurlHttpClient(SystemClock())
        with scripted_server(script) as server:
            for turn in ("first", "second"):
                asked = [gevent.spawn(_path, asking, server.url, f"/{turn}/{number}") for number in range(16)]
                gevent.joinall(asked)
                assert [each.value for each in asked] == [f"/{turn}/{number}".encode() for number in range(16)]
                assert gevent.spawn(_path, asking, server.url, f"/alone/{turn}").get() == f"/alone/{turn}".encode()
            assert server.connections == 16

    def test_have_each_their_own_deadline(self) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.wait(20)

        asking = CurlHttpClient(SystemClock())
        with scripted_server(script) as server:
            patient = [gevent.spawn(_waited, asking, server.url, 20)]
            hasty = [gevent.spawn(_waited, asking, server.url, seconds) for seconds in (0.6, 0.3)]
            patient.append(gevent.spawn(_waited, asking, server.url, 20))
            gevent.joinall(hasty)
            waited = [each.value + 0.01 for each in hasty]  # libcurl counts whole milliseconds
            assert [each >= seconds for each, seconds in zip(waited, (0.6, 0.3), strict=True)] == [True, True]
            assert not any(each.ready() for each in patient)
        gevent.joinall(patient)

    def test_that_wait_for_an_answer_get_it_over_a_route_that_is_none_any_more(
        self, here: ScriptedServer, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever has begun ends in peace; the connections end with the last of them."""
        monkeypatch.setattr(curl, "FILES_SECONDS", 0.0)
        ca = tmp_path / "ca.pem"
        ca.write_bytes(authority.pair.certificate.read_bytes())
        ended = threading.Event()

        def script(conversation: Conversation) -> None:
            conversation.receive()
            if conversation.number == 1:
                conversation.wait(20)  # and is given up
            if conversation.number == 2:
                conversation.wait(0.5)
            conversation.answer()
            if conversation.number == 2:
                with pytest.raises(EOFError):
                    conversation.receive()
                ended.set()

        asking = CurlHttpClient(SystemClock())
        with scripted_server(script) as server:
            given_up = gevent.spawn(ask, asking, server.url, ca_file=str(ca))
            gevent.sleep(0.1)
            given_up.kill()
            slow = gevent.spawn(ask, asking, server.url, ca_file=str(ca))
            gevent.sleep(0.1)
            os.utime(ca, (1, 1))
            assert gevent.spawn(ask, asking, server.url, ca_file=str(ca)).get().status == 200
            assert not slow.ready()
            assert slow.get().status == 200
            assert ended.wait(5), "the old connection was closed"

    def test_let_each_other_go_on_while_they_pause_or_wait_for_what_blocks(self) -> None:
        done: list[str] = []

        def wait(how: Callable[[float], None], seconds: float) -> None:
            how(seconds)
            done.append(f"{how.__name__} {seconds}")

        def block(seconds: float) -> None:
            concurrency.run_in_thread(time.sleep, seconds)

        plans = [(SystemClock().sleep, 0.3), (block, 0.2), (SystemClock().sleep, 0.1), (block, 0.4)]
        gevent.joinall([gevent.spawn(wait, how, seconds) for how, seconds in plans])
        assert done == ["pause 0.1", "block 0.2", "pause 0.3", "block 0.4"]

    def test_are_told_what_went_wrong_in_what_blocks(self) -> None:
        with pytest.raises(KeyError, match="why"):
            gevent.spawn(concurrency.run_in_thread, {}.__getitem__, "why").get()


def _path(asking: CurlHttpClient, url: str, path: str) -> bytes:
    return asking.request(Route(url=url), "GET", path, within(5)).body


def _waited(asking: CurlHttpClient, url: str, seconds: float) -> float:
    """How long for an answer that never came."""
    began = time.monotonic()
    with pytest.raises(Unsettled):
        ask(asking, url, seconds=seconds)
    return time.monotonic() - began
