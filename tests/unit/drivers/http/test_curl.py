"""runner.drivers.http.curl: requests and responses, against scripted servers that behave correctly and incorrectly."""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from runner.drivers.http import curl
from runner.drivers.http.client import HttpResponse, Route, Unsettled
from runner.drivers.http.curl import CurlHttpClient
from runner.errors import Timeout, Unavailable
from runner.runtime import concurrency
from runner.runtime.clock import SystemClock
from tests.cluster.certificates import Authority, Pair
from tests.harness.deadlines import within
from tests.harness.scripted_server import Conversation, ScriptedServer, scripted_server

SECRET = "s3cr3t-token"


def send(client: CurlHttpClient, url: str, *, seconds: float = 5.0, **route: object) -> HttpResponse:
    route = {"server": "the server", "trust": "server.caFile", **route}
    return client.request(Route(url=url, **route), "GET", "/v1/jobs", within(seconds))  # type: ignore[arg-type]


class TestRequest:
    def test_arrives_unchanged(self, client: CurlHttpClient) -> None:
        with scripted_server() as server:
            route = Route(url=server.url + "/base")
            body = b"x" * 2_000_000
            headers = ["Authorization: Bearer a", "Content-Type: application/merge-patch+json"]
            client.request(route, "PATCH", "/a/../b%2Fc?d=e%20f", within(5), body=body, headers=headers)
        (asked,) = server.asked
        assert (asked.method, asked.path, asked.body) == ("PATCH", "/base/a/../b%2Fc?d=e%20f", body)
        assert asked.headers["authorization"] == "Bearer a"
        assert asked.headers["content-type"] == "application/merge-patch+json"
        assert asked.headers["user-agent"] == "orchestrator"
        assert "expect" not in asked.headers, "waiting for a 100 costs a round trip"

    def test_has_a_body_only_if_given_even_after_a_request_with_one(self, client: CurlHttpClient) -> None:
        with scripted_server() as server:
            route = Route(url=server.url)
            for method, body in (("POST", b"{}"), ("GET", None), ("POST", b"{1}"), ("DELETE", None)):
                client.request(route, method, "/", within(5), body=body)
        assert [(each.method, each.body) for each in server.asked] == [
            ("POST", b"{}"),
            ("GET", b""),
            ("POST", b"{1}"),
            ("DELETE", b""),
        ]
        assert server.asked[1].headers.keys().isdisjoint({"content-type", "content-length"})

    def test_reuses_the_connection_of_the_previous_request(self, client: CurlHttpClient) -> None:
        with scripted_server() as server:
            for _ in range(5):
                send(client, server.url)
        assert (len(server.asked), server.connections) == (5, 1)

    def test_shares_no_connection_with_another_thread(self, client: CurlHttpClient) -> None:
        with scripted_server() as server:
            for _ in range(3):
                thread = threading.Thread(target=send, args=(client, server.url))
                thread.start()
                thread.join()
        assert (len(server.asked), server.connections) == (3, 3)

    def test_is_sent_again_on_a_new_connection_if_the_kept_one_was_closed(self, client: CurlHttpClient) -> None:
        """The server may receive it twice: here it reads the first one before it closes the connection."""

        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.answer()
            if conversation.number == 1:
                conversation.receive()

        with scripted_server(script) as server:
            route = Route(url=server.url)
            for _ in range(2):
                client.request(route, "POST", "/", within(5), body=b"{}")
        assert [each.method for each in server.asked] == ["POST", "POST", "POST"]
        assert server.connections == 2

    @pytest.mark.parametrize("broken", ["a\r\nX-Evil: b", "a\nb", "a\0b", "é"])
    def test_with_an_injected_header_is_not_sent_and_the_error_does_not_quote_the_value(
        self, client: CurlHttpClient, broken: str
    ) -> None:
        with scripted_server() as server:
            headers = [f"Authorization: Bearer {SECRET}{broken}"]
            with pytest.raises(Unavailable, match="Authorization") as caught:
                client.request(Route(url=server.url), "GET", "/", within(5), headers=headers)
        assert SECRET not in str(caught.value)
        assert not server.asked

    def test_ignores_the_environment(
        self, client: CurlHttpClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login somebody password {SECRET}\n")
        with scripted_server() as server:
            send(client, server.url)
        assert "authorization" not in server.asked[0].headers

    def test_uses_no_protocol_other_than_http(self, client: CurlHttpClient, tmp_path: Path) -> None:
        (tmp_path / "v1").write_text("a file")
        with pytest.raises(Unavailable):
            client.request(Route(url=f"file://{tmp_path}"), "GET", "/v1", within(5))


class TestResponse:
    @pytest.mark.parametrize("status", [200, 201, 404, 409, 422, 500, 503])
    def test_is_returned_for_any_status(self, client: CurlHttpClient, status: int) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.answer(status, b"the body")

        with scripted_server(script) as server:
            assert send(client, server.url) == HttpResponse(status, b"the body")

    def test_with_a_redirect_is_not_followed(self, client: CurlHttpClient) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.answer(307, b"", {"Location": f"http://127.0.0.1:{conversation.number}/elsewhere"})

        with scripted_server(script) as server:
            assert send(client, server.url).status == 307
        assert len(server.asked) == 1

    @pytest.mark.parametrize(
        ("value", "seconds"), [("7", 7), ("0", None), ("999999999", 3600), ("soon", None), ("-3", None)]
    )
    def test_has_the_seconds_of_retry_after(self, client: CurlHttpClient, value: str, seconds: int | None) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.answer(429, b"", {"Retry-After": value})

        with scripted_server(script) as server:
            assert send(client, server.url).retry_after == seconds

    def test_has_only_the_requested_headers(self, client: CurlHttpClient) -> None:
        def script(conversation: Conversation) -> None:
            while True:
                conversation.receive()
                conversation.answer(200, b"", {"X-Nomad-NextToken": "a:b", "Date": "then", "Other": "no"})

        with scripted_server(script) as server:
            route = Route(url=server.url)
            asked = client.request(route, "GET", "/", within(5), wanted=("date", "x-nomad-nexttoken"))
            unasked = client.request(route, "GET", "/", within(5))
        assert asked.headers == {"x-nomad-nexttoken": "a:b", "date": "then"}
        assert unasked.headers == {}

    def test_may_arrive_in_chunks_and_several_packets(self, client: CurlHttpClient) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            conversation.wait(0.05)
            conversation.send(b"2\r\nde\r\n0\r\n\r\n")

        with scripted_server(script) as server:
            assert send(client, server.url).body == b"abcde"

    def test_over_the_size_limit_is_an_error(self, client: CurlHttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(curl, "MAX_RESPONSE_BYTES", 1000)

        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.answer(200, b"x" * 1001)

        with scripted_server(script) as server, pytest.raises(Unsettled, match=r"(?i)size|large|exceed"):
            send(client, server.url)


class TestNoResponse:
    def test_a_deadline_that_has_passed_sends_nothing(self, client: CurlHttpClient) -> None:
        with scripted_server() as server, pytest.raises(Timeout, match="GET /v1/jobs"):
            send(client, server.url, seconds=-1)
        assert server.connections == 0

    def test_a_refused_connection_is_unavailable_and_not_unsettled(self, client: CurlHttpClient) -> None:
        with scripted_server() as server:
            url = server.url
        with pytest.raises(Unavailable, match="cannot be reached") as caught:
            send(client, url)
        assert not isinstance(caught.value, Unsettled)

    def test_an_unresolvable_name_is_unavailable_and_not_unsettled(self, client: CurlHttpClient) -> None:
        with pytest.raises(Unavailable, match="cannot be reached") as caught:
            send(client, "http://nowhere.invalid:80")
        assert not isinstance(caught.value, Unsettled)

    @pytest.mark.parametrize("how", ["nothing", "half a head", "a byte at a time"])
    def test_an_incomplete_response_at_the_deadline_is_unsettled(self, client: CurlHttpClient, how: str) -> None:
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
            send(client, server.url, seconds=0.5)
        assert 0.4 < time.monotonic() - began < 3

    def test_a_silent_server_is_unsettled_long_before_a_late_deadline(self, client: CurlHttpClient) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.wait(20)

        began = time.monotonic()
        with scripted_server(script) as server, pytest.raises(Unsettled):
            send(client, server.url, seconds=60, silence_seconds=1)
        assert time.monotonic() - began < 10

    @pytest.mark.parametrize("how", ["reset", "end", "half an answer"])
    def test_a_connection_that_closes_before_the_whole_response_is_unsettled(
        self, client: CurlHttpClient, how: str
    ) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            if how == "half an answer":
                conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            if how == "reset":
                conversation.reset()

        with scripted_server(script) as server, pytest.raises(Unsettled):
            send(client, server.url)
        assert len(server.asked) == 1

    def test_a_late_response_is_never_used_for_the_next_request(self, client: CurlHttpClient) -> None:
        """The first request times out. Its response arrives later and must not become the second request's response."""

        def script(conversation: Conversation) -> None:
            conversation.receive()
            if conversation.number == 1:
                conversation.wait(0.6)
            conversation.answer(200, f"answer {conversation.number}".encode())

        with scripted_server(script) as server:
            with pytest.raises(Unsettled):
                send(client, server.url, seconds=0.3)
            time.sleep(0.5)
            assert send(client, server.url).body == b"answer 2"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("ca"), "test authority")
    made.create()
    return made


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("other"), "other authority")
    made.create()
    return made


def tls_context(pair: Pair, *, clients_of: Authority | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    if clients_of:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients_of.pair.certificate)
    return context


@pytest.fixture
def local_server(authority: Authority) -> Iterator[ScriptedServer]:
    """A server with a certificate for its own address."""
    with scripted_server(context=tls_context(authority.issue("here", hosts=("127.0.0.1",)))) as server:
        yield server


class TestTLS:
    def test_a_server_with_a_certificate_of_the_named_ca_is_accepted(
        self, client: CurlHttpClient, local_server: ScriptedServer, authority: Authority
    ) -> None:
        assert send(client, local_server.url, ca_file=str(authority.pair.certificate)).status == 200

    @pytest.mark.parametrize("ca", ["the system's", "another", "no file"])
    def test_any_other_ca_is_rejected(
        self, client: CurlHttpClient, local_server: ScriptedServer, other_authority: Authority, ca: str
    ) -> None:
        path = {"the system's": "", "another": str(other_authority.pair.certificate), "no file": "/nowhere/ca.pem"}[ca]
        with pytest.raises(Unavailable, match=r"TLS .* check server\.caFile") as caught:
            send(client, local_server.url, ca_file=path)
        assert not isinstance(caught.value, Unsettled)
        assert not local_server.asked

    def test_a_certificate_for_another_name_is_rejected(self, client: CurlHttpClient, authority: Authority) -> None:
        ca = str(authority.pair.certificate)
        elsewhere = tls_context(authority.issue("elsewhere", hosts=("cluster.internal",)))
        with scripted_server(context=elsewhere) as server:
            with pytest.raises(Unavailable, match="TLS"):
                send(client, server.url, ca_file=ca)
            assert not server.asked
            assert send(client, server.url, ca_file=ca, server_name="cluster.internal").status == 200

    def test_a_kubeconfig_can_switch_verification_off(
        self, client: CurlHttpClient, local_server: ScriptedServer
    ) -> None:
        assert send(client, local_server.url, verify=False).status == 200

    def test_the_client_certificate_is_sent(
        self, client: CurlHttpClient, authority: Authority, other_authority: Authority
    ) -> None:
        server_pair, ca = authority.issue("here", hosts=("127.0.0.1",)), str(authority.pair.certificate)
        ours, foreign = authority.issue("orchestrator"), other_authority.issue("orchestrator")
        with scripted_server(context=tls_context(server_pair, clients_of=authority)) as server:
            for pair in (None, foreign):
                files = {"cert_file": str(pair.certificate), "key_file": str(pair.key)} if pair else {}
                with pytest.raises(Unavailable):
                    send(CurlHttpClient(SystemClock()), server.url, ca_file=ca, **files)
            assert not server.asked
            response = send(client, server.url, ca_file=ca, cert_file=str(ours.certificate), key_file=str(ours.key))
        assert response.status == 200

    def test_changed_certificate_files_are_read_again(
        self,
        client: CurlHttpClient,
        local_server: ScriptedServer,
        authority: Authority,
        other_authority: Authority,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(curl, "FILES_SECONDS", 0.0)
        ca = tmp_path / "ca.pem"
        ca.write_bytes(authority.pair.certificate.read_bytes())
        assert send(client, local_server.url, ca_file=str(ca)).status == 200
        ca.write_bytes(other_authority.pair.certificate.read_bytes())
        os.utime(ca, (1, 1))
        with pytest.raises(Unavailable, match="TLS"):
            send(client, local_server.url, ca_file=str(ca))


class TestProxy:
    def test_tunnels_to_the_server_whose_certificate_is_still_verified(
        self, client: CurlHttpClient, local_server: ScriptedServer, authority: Authority
    ) -> None:
        with scripted_server(Conversation.tunnel) as proxy:
            route = Route(
                url=local_server.url,
                ca_file=str(authority.pair.certificate),
                proxy=proxy.url,
                proxy_headers=("Proxy-Authorization: Basic abc",),
            )
            headers = [f"Authorization: Bearer {SECRET}"]
            assert client.request(route, "GET", "/", within(5), headers=headers).status == 200
        (connect,) = proxy.asked
        assert (connect.method, connect.path) == ("CONNECT", f"127.0.0.1:{local_server.port}")
        assert connect.headers["proxy-authorization"] == "Basic abc"
        assert "authorization" not in connect.headers, "the token is for the server alone"
        assert local_server.asked[0].headers["authorization"] == f"Bearer {SECRET}"
        assert "proxy-authorization" not in local_server.asked[0].headers

    def test_that_refuses_is_reported_without_its_password(self, client: CurlHttpClient) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.answer(407)

        with scripted_server(script) as proxy:
            url = proxy.url.replace("http://", f"http://somebody:{SECRET}@")
            with pytest.raises(Unavailable, match="407") as caught:
                send(client, "https://cluster.internal:6443", proxy=url)
            assert SECRET not in str(caught.value) + repr(Route(url="https://x", proxy=url))


@pytest.mark.usefixtures("cooperating")
class TestGreenlets:
    def test_send_requests_concurrently_and_reuse_the_connections(self) -> None:
        together = threading.Barrier(16)

        def script(conversation: Conversation) -> None:
            while True:
                asked = conversation.receive()
                if not asked.path.startswith("/alone"):
                    together.wait(5)
                conversation.answer(body=asked.path.encode())

        client = CurlHttpClient(SystemClock())
        with scripted_server(script) as server:
            for batch in ("first", "second"):
                asked = [gevent.spawn(_path, client, server.url, f"/{batch}/{number}") for number in range(16)]
                gevent.joinall(asked)
                assert [each.value for each in asked] == [f"/{batch}/{number}".encode() for number in range(16)]
                assert gevent.spawn(_path, client, server.url, f"/alone/{batch}").get() == f"/alone/{batch}".encode()
            assert server.connections == 16

    def test_each_have_their_own_deadline(self) -> None:
        def script(conversation: Conversation) -> None:
            conversation.receive()
            conversation.wait(20)

        client = CurlHttpClient(SystemClock())
        with scripted_server(script) as server:
            patient = [gevent.spawn(_waited, client, server.url, 20)]
            hasty = [gevent.spawn(_waited, client, server.url, seconds) for seconds in (0.6, 0.3)]
            patient.append(gevent.spawn(_waited, client, server.url, 20))
            gevent.joinall(hasty)
            waited = [each.value + 0.01 for each in hasty]  # libcurl counts whole milliseconds
            assert [each >= seconds for each, seconds in zip(waited, (0.6, 0.3), strict=True)] == [True, True]
            assert not any(each.ready() for each in patient)
        gevent.joinall(patient)

    def test_that_wait_get_their_response_although_the_connections_were_retired(
        self, local_server: ScriptedServer, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Retired connections are closed after the last running request has ended."""
        monkeypatch.setattr(curl, "FILES_SECONDS", 0.0)
        ca = tmp_path / "ca.pem"
        ca.write_bytes(authority.pair.certificate.read_bytes())
        ended = threading.Event()

        def script(conversation: Conversation) -> None:
            conversation.receive()
            if conversation.number == 1:
                conversation.wait(20)  # the client is killed meanwhile
            if conversation.number == 2:
                conversation.wait(0.5)
            conversation.answer()
            if conversation.number == 2:
                with pytest.raises(EOFError):
                    conversation.receive()
                ended.set()

        client = CurlHttpClient(SystemClock())
        with scripted_server(script) as server:
            given_up = gevent.spawn(send, client, server.url, ca_file=str(ca))
            gevent.sleep(0.1)
            given_up.kill()
            slow = gevent.spawn(send, client, server.url, ca_file=str(ca))
            gevent.sleep(0.1)
            os.utime(ca, (1, 1))
            assert gevent.spawn(send, client, server.url, ca_file=str(ca)).get().status == 200
            assert not slow.ready()
            assert slow.get().status == 200
            assert ended.wait(5), "the old connection was closed"

    def test_that_have_ended_leave_the_loop_nothing_to_do(self, authority: Authority) -> None:
        """libcurl closes connections that it has too many of, and waits for the server's part of that."""

        def script(conversation: Conversation) -> None:
            try:
                while True:
                    asked = conversation.receive()
                    conversation.wait(0.2 if asked.path == "/together" else 0)
                    conversation.answer()
            except EOFError:
                closing.append(conversation.number)
                conversation.wait(0.5)

        closing: list[int] = []
        rounds = [0]
        ca, context = str(authority.pair.certificate), tls_context(authority.issue("here", hosts=("127.0.0.1",)))
        client = CurlHttpClient(SystemClock())
        with scripted_server(script, context) as server:
            gevent.joinall([gevent.spawn(_path, client, server.url, "/together", ca) for _ in range(16)])
            gevent.sleep(1)
            for _ in range(20):
                gevent.spawn(_path, client, server.url, "/alone", ca).get()
            watcher = gevent.get_hub().loop.prepare()
            watcher.start(lambda: rounds.append(rounds.pop() + 1))
            gevent.sleep(1)
            watcher.stop()
            watcher.close()
        assert closing
        assert rounds[0] < 1000

    def test_run_while_others_sleep_or_wait_for_a_thread(self) -> None:
        done: list[str] = []

        def wait(how: Callable[[float], None], seconds: float) -> None:
            how(seconds)
            done.append(f"{how.__name__} {seconds}")

        def block(seconds: float) -> None:
            concurrency.run_in_thread(time.sleep, seconds)

        plans = [(SystemClock().sleep, 0.3), (block, 0.2), (SystemClock().sleep, 0.1), (block, 0.4)]
        gevent.joinall([gevent.spawn(wait, how, seconds) for how, seconds in plans])
        assert done == ["pause 0.1", "block 0.2", "pause 0.3", "block 0.4"]

    def test_receive_the_exception_of_a_function_run_in_a_thread(self) -> None:
        with pytest.raises(KeyError, match="why"):
            gevent.spawn(concurrency.run_in_thread, {}.__getitem__, "why").get()


def _path(client: CurlHttpClient, url: str, path: str, ca_file: str = "") -> bytes:
    return client.request(Route(url=url, ca_file=ca_file), "GET", path, within(5)).body


def _waited(client: CurlHttpClient, url: str, seconds: float) -> float:
    """Send a request that gets no response. Returns the seconds until it failed."""
    began = time.monotonic()
    with pytest.raises(Unsettled):
        send(client, url, seconds=seconds)
    return time.monotonic() - began
