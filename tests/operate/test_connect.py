"""`check-config --connect`: on a real Kubernetes, a real Nomad and a real RabbitMQ; doubles give the rare answers."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from examples.broker import Broker
from runner.cli import main
from runner.cli.connect import checks, directories, trackers
from runner.cli.connect.kubernetes import LEADER_RIGHTS, RIGHTS
from runner.config.types import Config
from runner.drivers.nomad.leader_variable import PATH
from runner.runtime import exit_codes
from runner.runtime.clock import Deadline, SystemClock
from tests import cluster
from tests.harness.scripted_server import Conversation, ScriptedServer, answer_all, scripted_server
from tests.kubernetes.namespaces import RBAC, Namespace
from tests.kubernetes.test_permissions import ROLE
from tests.nomad.access import Nomad
from tests.nomad.test_permissions import ALL
from tests.protocols.conftest import broker

__all__ = ["broker"]  # the fixture of that suite

PASSWORD = "hunter2-of-the-broker"
Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def brief_election(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "RENEW_SECONDS", 0.2)
    monkeypatch.setattr(trackers, "PAUSE_SECONDS", 0.1)


@pytest.fixture
def atlas() -> Iterator[ScriptedServer]:
    with scripted_server(answer_all) as server:
        yield server


@pytest.fixture
def run(write_config: Callable[..., Path], document: dict[str, Any], atlas: ScriptedServer, tmp_path: Path) -> Run:
    """`check-config --connect` with these sections: `run(driver="memory", host="http://…", environment={…})`."""

    def run(*, host: str = "", environment: dict[str, str] | None = None, **sections: Any) -> Result:
        deepsource = document["deepsource"] | {"host": host or atlas.url}
        path = write_config(tmp_path, deepsource=deepsource, **{"driver": "memory", **sections})
        return CliRunner().invoke(main, ["check-config", "--config", str(path), "--connect"], env=environment)

    return run


def lines(result: Result, expected: int = 0) -> dict[str, str]:
    """Each check with its state and text: `{"atlas at http://…": "ok answers; …"}`."""
    assert result.exit_code == expected, result.output
    found = re.findall(r"^(ok|note|not ok) +(.*?)(?:: (.*))?$", result.stdout, re.M)
    return {what: f"{state} {text}".strip() for state, what, text in found}


@pytest.fixture(scope="module")
def namespace(
    real_servers: cluster.Cluster, tmp_path_factory: pytest.TempPathFactory, make_config: Any
) -> Iterator[Namespace]:
    made = Namespace.create(real_servers.kubernetes, tmp_path_factory.mktemp("kubernetes"), make_config)
    yield made
    made.delete()


class TestKubernetes:
    def sections(self, namespace: Namespace, **pool: Any) -> dict[str, Any]:
        kubernetes = {"namespace": namespace.name, "kubeconfig": str(namespace.kubeconfig())}
        return {"driver": "kubernetes", "kubernetes": kubernetes, "pools": {"default": pool}}

    def test_the_shipped_role_is_enough(self, namespace: Namespace, run: Run, atlas: ScriptedServer) -> None:
        found = lines(run(**self.sections(namespace)))

        assert found["Kubernetes"] == f"ok we are system:serviceaccount:{namespace.name}:orchestrator"
        assert found[f"Kubernetes namespace {namespace.name}"] == "ok exists"
        assert found[f"rights in namespace {namespace.name}"] == "ok"
        assert found["tracker for Kubernetes"].startswith("note Lease")
        assert found[f"atlas at {atlas.url}"].startswith("ok")
        assert [namespace.objects(kind) for kind in ("jobs", "secrets", "leases")] == [[], [], []]

    def test_a_right_that_is_missing_is_named(self, namespace: Namespace, run: Run) -> None:
        wanted = sorted((RIGHTS + LEADER_RIGHTS), key=str)
        for left_out in wanted[::4]:  # one of each kind; the real server takes a while for a changed role
            rules = [_without(rule, left_out) for rule in ROLE["rules"]]
            namespace.apply({**ROLE, "rules": [rule for rule in rules if rule["verbs"]]})
            said = _until_denied(lambda: run(**self.sections(namespace)), namespace)
            assert f"may not {left_out}; grant it: kubectl apply --namespace {namespace.name} -f {_SHIPPED}" in said
        namespace.kubectl("apply", "-f", str(RBAC))

    def test_a_missing_namespace_and_its_queue_and_priority_class(self, namespace: Namespace, run: Run) -> None:
        elsewhere = {"namespace": "nowhere-at-all", "queueName": "batch", "priorityClassName": "low"}
        admin = str(namespace.access.kubeconfig)
        sections = {"driver": "kubernetes", "kubernetes": {"kubeconfig": admin}, "pools": {"default": elsewhere}}
        found = lines(run(**sections), exit_codes.CONFIGURATION)

        assert "kubectl create namespace nowhere-at-all" in found["Kubernetes namespace nowhere-at-all"]
        assert found["PriorityClass low"].startswith("not ok does not exist; create it")
        assert found["LocalQueue nowhere-at-all/batch"].startswith("not ok this cluster has no Kueue")
        elsewhere["priorityClassName"] = "system-node-critical"
        again = lines(run(**sections), exit_codes.CONFIGURATION)
        assert again["PriorityClass system-node-critical"] == "ok exists"

    def test_what_our_account_may_not_read_is_a_note(self, namespace: Namespace, run: Run) -> None:
        found = lines(run(**self.sections(namespace, priorityClassName="low")))
        assert found["PriorityClass low"].startswith("note our account may not read it")
        assert "kubectl get priorityclass low" in found["PriorityClass low"]

    def test_a_leader_is_named(self, namespace: Namespace, run: Run) -> None:
        with _leading(namespace):
            found = lines(run(**self.sections(namespace)))
        assert found["tracker for Kubernetes"].startswith("ok host-1-2-3 leads, by Lease")
        assert "no longer renews" in lines(run(**self.sections(namespace)))["tracker for Kubernetes"]

    def test_a_revoked_token(self, namespace: Namespace, run: Run, tmp_path: Path) -> None:
        document = yaml.safe_load(namespace.kubeconfig().read_text())
        document["users"][0]["user"] = {"token": "ey.not.valid"}
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(document))
        kubernetes = {"namespace": namespace.name, "kubeconfig": str(path)}
        found = lines(run(driver="kubernetes", kubernetes=kubernetes), exit_codes.CONFIGURATION)

        assert found["Kubernetes"].startswith("not ok the API server rejects our credentials")
        assert found["Kubernetes"].endswith("renew them")
        assert found[f"rights in namespace {namespace.name}"] == "not ok the same as for Kubernetes"


_SHIPPED = "deploy/kubernetes/rbac.yaml"


def test_the_rights_are_those_of_the_shipped_role() -> None:
    granted = {
        (verb, resource, group, name)
        for rule in ROLE["rules"]
        for verb in rule["verbs"]
        for resource in rule["resources"]
        for group in rule["apiGroups"]
        for name in rule.get("resourceNames", [""])
    }
    assert {tuple(each) for each in (*RIGHTS, *LEADER_RIGHTS)} == granted


def _without(rule: dict[str, Any], right: Any) -> dict[str, Any]:
    if right.resource not in rule["resources"]:
        return rule
    return {**rule, "verbs": [verb for verb in rule["verbs"] if verb != right.verb]}


def _until_denied(run: Callable[[], Result], namespace: Namespace) -> str:
    """The line of the rights, after the authorizer has applied the changed Role."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        result = run()
        said = next(line for line in result.stdout.splitlines() if f"rights in namespace {namespace.name}" in line)
        if result.exit_code:
            return said
    raise AssertionError("no right is missing")


@contextmanager
def _leading(namespace: Namespace) -> Iterator[None]:
    """Another tracker that renews the Lease all the time."""
    from threading import Event, Thread

    from tests.harness.deadlines import within

    store, stop = namespace.driver().election(), Event()
    store.write("host-1-2-3", "", within(5))

    def renew() -> None:
        while not stop.wait(0.05):
            known = store.read(within(5))
            assert known
            store.write("host-1-2-3", known[1], within(5))

    thread = Thread(target=renew)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class TestNomad:
    @pytest.fixture
    def nomad(self, real_servers: cluster.Cluster, tmp_path: Path) -> Iterator[Nomad]:
        made = Nomad(real_servers.nomad, tmp_path)
        yield made
        made.close()

    def sections(self, nomad: Nomad, **changed: Any) -> dict[str, Any]:
        section = {
            "address": nomad.access.url,
            "caFile": str(nomad.access.ca),
            "tokenFile": str(nomad.token_file),
            "namespace": nomad.namespace,
        }
        return {"driver": "nomad", "nomad": section | changed}

    def test_the_shipped_policy_is_enough(self, nomad: Nomad, run: Run) -> None:
        found = lines(run(**self.sections(nomad)))

        assert found["Nomad"] == f"ok the token is '{nomad.namespace}', with {nomad.namespace}"
        assert found[f"Nomad namespace {nomad.namespace}"] == "ok exists"
        assert found[f"capabilities in namespace {nomad.namespace}"] == "ok"
        assert found["tracker for Nomad"].startswith("note Variable orchestrator/tracker")
        assert nomad.get("jobs") == []
        assert nomad.get("vars") == []

    @pytest.mark.parametrize(("capability", "path"), ALL)
    def test_a_capability_that_is_missing_is_named(self, nomad: Nomad, run: Run, capability: str, path: str) -> None:
        nomad.allow_all_but(capability, path)
        found = lines(run(**self.sections(nomad)), exit_codes.CONFIGURATION)
        said = found[f"capabilities in namespace {nomad.namespace}"]
        wanted = f"variables {capability}" if path else capability
        assert f"not ok lacks {wanted}{f' on {path}' if path == PATH else ''}" in said
        assert "grant it to our token as in deploy/nomad" in said

    def test_capabilities_by_a_role_and_by_a_pattern(self, nomad: Nomad, run: Run) -> None:
        policy = nomad.namespace
        nomad.put(
            f"acl/policy/{policy}", {"Name": policy, "Rules": f'namespace "{policy[:-2]}*" {{ policy = "write" }}'}
        )
        role = nomad.put("acl/role", {"Name": policy, "Policies": [{"Name": policy}]})
        token = nomad.put("acl/token", {"Name": "by role", "Type": "client", "Roles": [{"ID": role["ID"]}]})
        nomad.token_file.write_text(token["SecretID"])
        found = lines(run(**self.sections(nomad)), exit_codes.CONFIGURATION)
        nomad.delete(f"acl/token/{token['AccessorID']}")
        nomad.delete(f"acl/role/{role['ID']}")

        said = found[f"capabilities in namespace {nomad.namespace}"]
        assert "read-logs" not in said
        assert "variables write" in said

    def test_a_management_token_is_a_note(self, nomad: Nomad, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "management"
        path.write_text(nomad.access.token)
        found = lines(run(**self.sections(nomad, tokenFile=str(path))))
        assert "management token" in found["Nomad"]
        assert found["Nomad"].startswith("note")

    def test_no_token(self, nomad: Nomad, run: Run) -> None:
        found = lines(run(**self.sections(nomad, tokenFile="")), exit_codes.CONFIGURATION)
        assert found["Nomad"] == "note we have no token, only the anonymous one; set nomad.tokenFile"

    def test_a_revoked_token(self, nomad: Nomad, run: Run) -> None:
        nomad.revoke()
        found = lines(run(**self.sections(nomad)), exit_codes.CONFIGURATION)
        nomad.renew()
        assert "renew nomad.tokenFile" in found["Nomad"]
        assert "the same as for Nomad" in found[f"capabilities in namespace {nomad.namespace}"]

    def test_a_missing_namespace(self, nomad: Nomad, run: Run) -> None:
        found = lines(run(**self.sections(nomad, namespace="nowhere-at-all")), exit_codes.CONFIGURATION)
        assert "nomad namespace apply nowhere-at-all" in found["Nomad namespace nowhere-at-all"]

    def test_a_certificate_of_another_authority(self, nomad: Nomad, run: Run) -> None:
        found = lines(run(**self.sections(nomad, caFile="")), exit_codes.CONFIGURATION)
        assert found["Nomad"].startswith("not ok TLS with Nomad")
        assert "check nomad.caFile" in found["Nomad"]


class TestBroker:
    def connected(self, run: Run, url: str, status: int = 0, **section: Any) -> str:
        given = {"exchange": "checked", **section}
        result = run(protocols=["amqp"], rabbitmq=given, environment={"ORCHESTRATOR_AMQP_URL": url})
        return lines(result, status)["RabbitMQ"]

    def test_what_is_missing_and_will_be_declared(self, broker: Broker, run: Run) -> None:
        said = self.connected(run, broker.url)
        assert said.startswith(f"ok amqp://127.0.0.1:{broker.port}/ is connected")
        assert "declared at the start: exchange checked" in said
        assert "checked" not in broker.control("list_exchanges")

    def test_what_is_missing_and_must_exist(self, broker: Broker, run: Run) -> None:
        said = self.connected(run, broker.url, exit_codes.CONFIGURATION, declare=False)
        assert said.startswith(f"not ok missing on amqp://127.0.0.1:{broker.port}/: exchange checked, queue ")
        assert said.endswith("create them, or set rabbitmq.declare to true")

    @pytest.mark.parametrize("url", ["amqp://guest:{}@127.0.0.1:{}/", "amqp://guest:guest@127.0.0.1:{1}/{0}"])
    def test_a_wrong_password_or_host(self, broker: Broker, run: Run, url: str) -> None:
        said = self.connected(run, url.format(PASSWORD, broker.port), exit_codes.CONFIGURATION)
        assert said.endswith("check the broker, and user, password and virtual host in ORCHESTRATOR_AMQP_URL")
        assert f":{PASSWORD}@" not in said

    def test_a_broker_that_is_down(self, run: Run, unused: int) -> None:
        said = self.connected(run, f"amqp://guest:{PASSWORD}@127.0.0.1:{unused}/", exit_codes.CONFIGURATION)
        assert said.startswith(f"not ok amqp://127.0.0.1:{unused}/ cannot be used")
        assert PASSWORD not in said

    def test_a_broker_that_is_silent(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(checks, "SECONDS", 2.0)
        with scripted_server(lambda conversation: conversation.wait(20)) as silent:
            said = self.connected(run, f"amqp://a:b@127.0.0.1:{silent.port}/", exit_codes.CONFIGURATION)
        assert said.startswith("not ok the broker did not answer in time")


@pytest.fixture
def unused() -> int:
    """A port that nothing listens on."""
    from tests.harness.processes import free_port

    return free_port()


class TestAtlas:
    def test_no_token_and_no_result_is_sent(self, run: Run, atlas: ScriptedServer) -> None:
        run()
        assert [(each.method, each.path, each.body) for each in atlas.asked] == [("GET", "/", b"")]
        assert "authorization" not in atlas.asked[0].headers

    @pytest.mark.parametrize("status", [200, 302, 401, 404, 405, 501])
    def test_any_answer_of_a_working_server_is_good(self, run: Run, status: int) -> None:
        with scripted_server(_answers(status)) as server:
            assert lines(run(host=server.url))[f"atlas at {server.url}"].startswith("ok")

    @pytest.mark.parametrize("status", [407, 500, 502, 503])
    def test_an_answer_of_a_broken_one_is_not(self, run: Run, status: int) -> None:
        with scripted_server(_answers(status)) as server:
            found = lines(run(host=server.url), exit_codes.CONFIGURATION)[f"atlas at {server.url}"]
        assert f"answered {status}; results are kept until atlas accepts them" in found

    def test_nothing_listens(self, run: Run, unused: int) -> None:
        found = lines(run(host=f"http://127.0.0.1:{unused}"), exit_codes.CONFIGURATION)
        assert "cannot be reached" in found[f"atlas at http://127.0.0.1:{unused}"]

    def test_the_login_of_a_proxy_is_not_shown(self, run: Run, unused: int) -> None:
        proxy = f"http://user:{PASSWORD}@127.0.0.1:{unused}"
        result = run(results={"proxy": proxy})
        assert result.exit_code == exit_codes.CONFIGURATION
        assert PASSWORD not in result.output


class TestDirectories:
    def test_space_is_shown(self, run: Run, tmp_path: Path) -> None:
        found = lines(run(driver="local", local={"directory": str(tmp_path / "a" / "jobs")}))
        assert re.fullmatch(r"ok \d+ MiB free", found[f"local.directory in {tmp_path}/a/jobs"])
        assert not (tmp_path / "a").exists()
        assert not list(tmp_path.glob(".orchestrator*"))

    def test_a_full_disk(self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(directories, "LEAST_FREE", 2**60)
        found = lines(run(driver="local", local={"directory": str(tmp_path)}), exit_codes.CONFIGURATION)
        assert "MiB are free; remove files" in found[f"temporary files in {tempfile.gettempdir()}"]
        assert found[f"local.directory in {tmp_path}"].startswith("not ok")

    def test_no_file_can_be_written(self, make_config: Callable[..., Config]) -> None:
        """Without the command line, which refuses such a directory before, unless root runs it."""
        sidecar = {"socket": "/proc/runner.sock", "workers": 1}
        checks = {each.what: each for each in directories.checks(make_config(sidecar=sidecar))}
        (question,) = checks["sidecar.socket in /proc"].questions
        found = question(Deadline.after(1, SystemClock()))
        assert (found.state, found.text.partition(":")[0]) == ("not ok", "no file can be written")

    def test_a_small_disk_is_enough_for_the_socket(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The chart's is 16 MiB of memory."""
        monkeypatch.setattr(directories, "LEAST_FREE", 2**60)
        found = lines(run(sidecar={"socket": str(tmp_path / "runner.sock")}), exit_codes.CONFIGURATION)
        assert found[f"sidecar.socket in {tmp_path}"].startswith("ok")

    def test_no_more_files_fit(self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(directories, "LEAST_FILES", 2**60)
        if os.statvfs(tmp_path).f_files:
            found = lines(run(), exit_codes.CONFIGURATION)
            assert "(inodes)" in found[f"temporary files in {tempfile.gettempdir()}"]


class TestDoubles:
    """Answers that the real servers here do not give."""

    @pytest.fixture
    def api_server(self, run: Run, tmp_path: Path) -> Callable[..., dict[str, str]]:
        def ask(answers: Callable[[Conversation], None], status: int = 0, **pool: Any) -> dict[str, str]:
            with scripted_server(answers) as server:
                path = tmp_path / "kubeconfig"
                path.write_text(_kubeconfig(server.url))
                kubernetes = {"kubeconfig": str(path), "namespace": "ci"}
                result = run(driver="kubernetes", kubernetes=kubernetes, pools={"default": pool})
                return lines(result, status)

        return ask

    @pytest.mark.parametrize(
        ("active", "status", "said"),
        [
            ("True", 0, "ok exists"),
            ("False", exit_codes.CONFIGURATION, "not ok admits no job: its ClusterQueue is stopped; see kubectl"),
        ],
    )
    def test_a_local_queue(self, api_server: Any, active: str, status: int, said: str) -> None:
        condition = {"type": "Active", "status": active, "message": "its ClusterQueue is stopped"}
        queue = {"status": {"conditions": [condition]}}
        answers = _cluster(**{f"{_QUEUES}/batch": (200, queue)})
        assert api_server(answers, status, queueName="batch")["LocalQueue ci/batch"].startswith(said)

    @pytest.mark.parametrize(
        ("code", "status", "said"),
        [(404, exit_codes.CONFIGURATION, "not ok does not exist"), (403, 0, "note our account may not read it")],
    )
    def test_a_local_queue_that_is_not_shown(self, api_server: Any, code: int, status: int, said: str) -> None:
        answers = _cluster(**{f"{_QUEUES}/batch": (code, {"message": "no"})})
        assert api_server(answers, status, queueName="batch")["LocalQueue ci/batch"].startswith(said)

    def test_a_webhook_that_takes_no_dry_run(self, api_server: Any) -> None:
        answers = _cluster(
            **{"/api/v1/namespaces/ci/secrets": (400, {"message": "a webhook does not support dry run"})}
        )
        assert api_server(answers)["Kubernetes namespace ci"] == "ok exists"

    def test_a_namespace_that_is_being_deleted(self, api_server: Any) -> None:
        message = "secrets is forbidden: unable to create new content in namespace ci because it is being terminated"
        answers = _cluster(**{"/api/v1/namespaces/ci/secrets": (403, {"message": message})})
        assert "being terminated" in api_server(answers, exit_codes.CONFIGURATION)["Kubernetes namespace ci"]

    def test_another_server_at_that_address(self, api_server: Any) -> None:
        found = api_server(lambda conversation: _each(conversation, 200, b"<html>"), exit_codes.CONFIGURATION)
        assert found["Kubernetes"] == "not ok the server answers with something else; check its address"

    def test_a_silent_server_delays_no_other_check(
        self, api_server: Any, atlas: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(checks, "SECONDS", 1.0)
        found = api_server(_silent, exit_codes.CONFIGURATION)
        assert found["Kubernetes"].startswith("not ok")
        assert found["rights in namespace ci"].startswith("not ok")
        assert found[f"atlas at {atlas.url}"].startswith("ok")


_QUEUES = "/apis/kueue.x-k8s.io/v1beta2/namespaces/ci/localqueues"
_ALLOWED = {"status": {"allowed": True, "userInfo": {"username": "me"}}}


def _cluster(**answers: tuple[int, Any]) -> Callable[[Conversation], None]:
    """A cluster that allows everything and has Kueue; with these answers by path."""
    known: dict[str, tuple[int, Any]] = {
        "/apis/kueue.x-k8s.io": (200, {"preferredVersion": {"groupVersion": "kueue.x-k8s.io/v1beta2"}}),
        "/apis/coordination.k8s.io/v1/namespaces/ci/leases/orchestrator-tracker": (404, {}),
        **answers,
    }

    def converse(conversation: Conversation) -> None:
        while True:
            status, body = known.get(conversation.receive().path.partition("?")[0], (201, _ALLOWED))
            conversation.answer(status, json.dumps(body).encode())

    return converse


def _answers(status: int) -> Callable[[Conversation], None]:
    return lambda conversation: _each(conversation, status, b"{}")


def _each(conversation: Conversation, status: int, body: bytes) -> None:
    while True:
        conversation.receive()
        conversation.answer(status, body)


def _silent(conversation: Conversation) -> None:
    conversation.receive()
    conversation.wait(20)


def _kubeconfig(url: str) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "c", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        }
    )


def test_a_configuration_that_is_wrong_by_itself_is_not_connected_with(
    run: Run, atlas: ScriptedServer, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    result = run(sidecar={"socket": str(tmp_path / "file" / "runner.sock")})
    assert result.exit_code == exit_codes.CONFIGURATION
    assert "sidecar.socket cannot be used" in result.stderr
    assert atlas.asked == []


def test_a_question_has_a_deadline_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """More questions than may be asked at once, all of them silent: each is answered as late."""
    from threading import Event

    from runner.runtime.clock import SystemClock

    monkeypatch.setattr(checks, "SECONDS", 0.2)
    monkeypatch.setattr(checks, "GRACE_SECONDS", 0.1)
    never = Event()

    def silent(_deadline: Any) -> checks.Finding:
        never.wait(20)
        return checks.Finding()

    asked: Sequence[checks.ConnectCheck] = [checks.ConnectCheck(str(number), (silent,)) for number in range(40)]
    found = [finding.state for _, finding in checks.run(asked, SystemClock())]
    never.set()
    assert found == ["not ok"] * 40
