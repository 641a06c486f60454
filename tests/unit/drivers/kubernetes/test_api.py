"""runner.drivers.kubernetes.api: which credentials are sent, and which requests wait for a slow credential plugin."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import gevent
import msgspec
import pytest
import yaml

from runner.config.drivers import KubernetesSection
from runner.drivers.http.client import HttpResponse, Route
from runner.drivers.http.curl import CurlHttpClient
from runner.drivers.kubernetes import api as kubernetes_api
from runner.drivers.kubernetes.api import ApiServerClient, ApiServerResponse
from runner.drivers.kubernetes.credentials import Access
from runner.errors import Rejected, Unavailable
from runner.runtime import concurrency
from runner.runtime.clock import Deadline, SystemClock
from tests.harness.clock import ManualClock
from tests.harness.deadlines import within
from tests.harness.scripted_server import Conversation, ScriptedServer, scripted_server
from tests.unit.drivers.local.test_driver import eventually

PLUGIN = """#!/bin/sh
echo >> {directory}/runs
until [ -e {directory}/released ]; do sleep 0.01; done
[ -e {directory}/token ] || exit 1
printf '{{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {{
  "token": "%s", "expirationTimestamp": "%s"}}}}' "$(cat {directory}/token)" "$(date -u -d "1 minute" +%FT%TZ)"
"""


class Cluster:
    """An API server that accepts certain tokens, and a credential plugin that a test can block."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.valid = {"first"}
        self.answer = b"{}"
        self.renewed = threading.Event()
        self.set_token("first")
        self.release()
        plugin = directory / "plugin"
        plugin.write_text(PLUGIN.format(directory=directory))
        plugin.chmod(0o755)
        self.server: ScriptedServer

    def converse(self, conversation: Conversation) -> None:
        while True:
            asked = conversation.receive()
            kind, _, token = asked.headers.get("authorization", "Bearer ").partition(" ")
            if asked.path == "/late" and token not in self.valid:
                self.renewed.wait(10)
            valid = kind == "Bearer" and token in self.valid
            conversation.answer(200 if valid else 401, self.answer)

    def kubeconfig(self) -> KubernetesSection:
        plugin = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(self.directory / "plugin"),
            "interactiveMode": "Never",
        }
        return self.write(
            {
                "clusters": [{"name": "c", "cluster": {"server": self.server.url}}],
                "users": [{"name": "u", "user": {"exec": plugin}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )

    def write(self, document: Any) -> KubernetesSection:
        path = self.directory / "kubeconfig"
        path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
        return KubernetesSection(kubeconfig=str(path))

    def set_token(self, token: str) -> None:
        """Set the token that the plugin returns."""
        (self.directory / "token").write_text(token)

    def hold(self) -> None:
        """Block the plugin until `release`."""
        (self.directory / "released").unlink()

    def release(self) -> None:
        (self.directory / "released").touch()

    @property
    def runs(self) -> int:
        path = self.directory / "runs"
        return path.read_text().count("\n") if path.exists() else 0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    with scripted_server(made.converse) as made.server:
        yield made
        made.release()


def client(settings: KubernetesSection) -> ApiServerClient:
    return ApiServerClient(settings, http=CurlHttpClient(SystemClock()), clock=SystemClock())


@pytest.fixture
def api(cluster: Cluster) -> ApiServerClient:
    return client(cluster.kubeconfig())


@pytest.fixture
def cooperating() -> Iterator[None]:
    """Waiting in this thread yields to other greenlets, as in a worker of the sidecar's pool."""
    concurrency.cooperate(threads=1)
    yield
    del concurrency._here.hub


@pytest.fixture
def always_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials are read again for every request."""
    monkeypatch.setattr(kubernetes_api, "CREDENTIAL_SECONDS", 0.0)


def ask(api: ApiServerClient, seconds: float = 10.0, path: str = "/version") -> ApiServerResponse:
    return api.call("GET", path, within(seconds))


@pytest.mark.usefixtures("cooperating")
def test_a_slow_plugin_runs_once_for_all_waiting_requests_and_blocks_no_other_greenlet(
    cluster: Cluster, api: ApiServerClient
) -> None:
    cluster.hold()
    waiters = [gevent.spawn(ask, api) for _ in range(10)]
    gevent.spawn(cluster.release)
    gevent.joinall(waiters)
    assert [waiter.get().status for waiter in waiters] == [200] * 10
    assert cluster.runs == 1


@pytest.mark.parametrize("waiting_by", ["thread", "greenlet"])
def test_a_request_waits_for_a_blocked_plugin_no_longer_than_its_deadline(
    cluster: Cluster, api: ApiServerClient, waiting_by: str, request: pytest.FixtureRequest
) -> None:
    if waiting_by == "greenlet":
        request.getfixturevalue("cooperating")
    cluster.hold()
    with pytest.raises(Unavailable, match="credential plugin takes too long"):
        ask(api, 0.3)
    cluster.release()
    assert ask(api).status == 200
    assert cluster.runs == 1


@pytest.mark.usefixtures("always_refresh")
def test_no_request_waits_while_accepted_credentials_are_being_renewed(cluster: Cluster, api: ApiServerClient) -> None:
    ask(api)
    cluster.hold()
    cluster.set_token("second")
    for _ in range(3):
        assert ask(api).status == 200
    cluster.valid = {"second"}
    cluster.release()
    eventually(lambda: ask(api).status == 200)  # a reading that began before may still bring the first token


@pytest.mark.usefixtures("always_refresh")
def test_credentials_that_cannot_be_read_again_stay_in_use_with_a_warning(
    cluster: Cluster, api: ApiServerClient, caplog: pytest.LogCaptureFixture
) -> None:
    ask(api)
    cluster.write("{")

    def is_logged() -> bool:
        assert ask(api).status == 200
        return "the previous credentials are used" in caplog.text

    eventually(is_logged)


@pytest.mark.usefixtures("always_refresh")
def test_new_credentials_are_read_before_the_old_ones_are_rejected(cluster: Cluster, api: ApiServerClient) -> None:
    cluster.valid = {"first", "second"}
    ask(api)
    cluster.set_token("second")

    def is_sent() -> bool:
        assert ask(api).status == 200
        return cluster.server.asked[-1].headers["authorization"] == "Bearer second"

    eventually(is_sent)


def test_rejected_credentials_are_read_again_once(cluster: Cluster, api: ApiServerClient) -> None:
    ask(api)
    cluster.valid = {"second"}
    assert ask(api).status == 401
    assert cluster.runs == 2
    cluster.set_token("second")
    assert ask(api).status == 200
    assert ask(api).status == 200
    assert cluster.runs == 3


def test_a_watch_reads_rejected_credentials_again_once(cluster: Cluster, api: ApiServerClient) -> None:
    def watch(lines: list[bytes]) -> ApiServerResponse:
        return api.watch("/pods", {"watch": "1", "a": "b,!c"}, within(5), lines.append, silence_seconds=5)

    ask(api)
    lines: list[bytes] = []
    cluster.answer = b'{"type":"ADDED"}\n{}\n'
    cluster.valid = {"second"}
    cluster.set_token("second")
    assert watch(lines).status == 200
    assert lines == [b'{"type":"ADDED"}', b"{}"]
    assert cluster.server.asked[-1].path == "/pods?watch=1&a=b%2C%21c"
    assert cluster.server.asked[-1].headers["accept"] == "application/json"
    cluster.valid = {"third"}
    refused: list[bytes] = []
    assert watch(refused).status == 401
    assert (refused, cluster.runs) == ([], 3)


def test_a_late_rejection_of_old_credentials_uses_those_that_were_read_since(
    cluster: Cluster, api: ApiServerClient
) -> None:
    ask(api)
    cluster.valid = {"second"}
    cluster.set_token("second")
    with ThreadPoolExecutor() as pool:
        late = pool.submit(ask, api, path="/late")
        eventually(lambda: cluster.server.asked[-1].path == "/late")
        assert ask(api).status == 200
        cluster.renewed.set()
        assert late.result().status == 200
    assert cluster.runs == 2


@pytest.mark.parametrize(
    "document", ["{", "", "[]", "- a", "a: b", "\x00", {"clusters": 1}, {"current-context": "x", "contexts": [1]}]
)
def test_an_invalid_kubeconfig_is_reported(cluster: Cluster, document: Any) -> None:
    with pytest.raises(Unavailable, match=r"no usable credentials for Kubernetes .*; in a pod"):
        ask(client(cluster.write(document)))


def test_a_failing_plugin_is_reported_and_no_request_is_sent_without_credentials(
    cluster: Cluster, api: ApiServerClient
) -> None:
    token = cluster.directory / "token"
    token.unlink()
    with pytest.raises(Unavailable, match="credential plugin of the kubeconfig's user u returned neither"):
        ask(api)
    assert cluster.server.asked == []
    cluster.set_token("first")
    assert ask(api).status == 200


@pytest.mark.parametrize("user", [{}, {"user": "u"}], ids=["nobody", "a user"])
def test_a_kubeconfig_without_credentials_is_valid(cluster: Cluster, user: dict[str, str]) -> None:
    """`kubectl proxy` needs none."""
    cluster.valid = {""}
    document = {
        "clusters": [{"name": "c", "cluster": {"server": cluster.server.url}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", **user}}],
    }
    api = client(msgspec.structs.replace(cluster.write(document), context="x"))
    assert ask(api).status == 200


def test_no_repr_contains_a_token(cluster: Cluster, api: ApiServerClient) -> None:
    ask(api)
    assert cluster.server.url in repr(api)
    assert "first" not in repr(api) + repr(api._access)


@pytest.mark.parametrize(("server_seconds", "ahead"), [(0, 0.0), (1, 0.0), (300, 300.0), (-300, -300.0)])
def test_the_difference_of_the_clocks_is_known_from_the_date_of_an_answer(server_seconds: int, ahead: float) -> None:
    clock = ManualClock(wall=1_700_000_000.0)
    date = format_datetime(datetime.fromtimestamp(clock.wall() + server_seconds, UTC), usegmt=True)

    class Dated:
        def request(self, *_: Any, **given: Any) -> HttpResponse:
            return HttpResponse(200, b"{}", headers={"date": date} if "date" in given["wanted"] else {})

    api = ApiServerClient(KubernetesSection(), http=Dated(), clock=clock)
    api._access = Access(Route(url="http://api"), "")
    api.call("POST", "/x", Deadline.after(1, clock), body={})
    assert api.clock_ahead == 0.0
    api.call("GET", "/x", Deadline.after(1, clock))
    assert api.clock_ahead == ahead


RBAC = 'jobs.batch is forbidden: User "system:serviceaccount:a:b" cannot create resource "jobs" in API group "batch"'


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        (f'{RBAC} in the namespace "x"', "grant it as in deploy/kubernetes"),
        (
            'users "n" is forbidden: User "a" cannot impersonate resource "users" in API group ""',
            "the verb impersonate",
        ),
        ('jobs "x" is forbidden: unable to create new content in namespace x because it is being terminated', ""),
        ('jobs "x" is forbidden: ValidatingAdmissionPolicy "p" denied request: users cannot create jobs', ""),
        ("admission webhook denied the request", ""),
        ("", ""),
    ],
)
def test_advice_about_permissions_is_given_where_the_api_server_speaks_of_them(message: str, advice: str) -> None:
    body = msgspec.json.encode({"kind": "Status", "message": message, "reason": "Forbidden"})
    with pytest.raises(Rejected) as caught:
        kubernetes_api.raise_for_status(ApiServerResponse(403, body), "create jobs in namespace x")
    assert message in caught.value.detail
    assert ("grant" in caught.value.detail) is bool(advice)
    assert advice in caught.value.detail


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        *((status, b"<html>moved</html>", "it redirects") for status in (301, 302, 307, 308)),
        (400, b"Client sent an HTTP request to an HTTPS server.\n", "it wants https"),
        (407, b"login, please", "a proxy on the way wants a login"),
    ],
)
def test_a_wrong_address_is_no_answer_of_the_api_server(status: int, body: bytes, said: str) -> None:
    with pytest.raises(Unavailable, match=said):
        kubernetes_api.raise_for_status(ApiServerResponse(status, body), "create jobs in namespace x")
