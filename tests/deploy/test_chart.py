"""The chart: linted, rendered in several shapes, accepted by a real API server, and what each shape contains."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner import __version__
from runner.config.loading import parse
from runner.request_types import REQUEST_TYPES
from tests import cluster
from tests.cluster.errors import ClusterError
from tests.conftest import ROOT
from tests.deploy.chart import (
    CHART,
    NAMESPACE,
    RELEASE,
    SHAPES,
    gateway_kinds,
    helm,
    kubectl,
    objects,
    render,
    smallest,
)

pytestmark = pytest.mark.usefixtures("helm_program")
NAME = f"{RELEASE}-orchestrator"
FUNCTIONS = {row.paths[0].rpartition("/")[2]: row for row in REQUEST_TYPES.values()}
PROMETHEUS_KINDS = {"PodMonitor", "PrometheusRule"}
by_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def namespaces(access: cluster.KubernetesAccess) -> Iterator[dict[str, str]]:
    """Real namespaces for the release and for the jobs of a pool."""
    gateway_kinds(access)
    made = {name: f"t-{uuid.uuid4().hex[:10]}" for name in (NAMESPACE, "jobs-free")}
    for name in made.values():
        kubectl(access, "create", "namespace", name)
    yield made
    for name in made.values():
        kubectl(access, "delete", "namespace", name, "--wait=false")


@by_shape
def test_helm_finds_nothing_wrong(shape: Path) -> None:
    assert "0 chart(s) failed" in helm("lint", CHART, "--strict", "--kube-version", "1.34.0", "--values", shape)


@by_shape
def test_the_api_server_accepts_it(
    shape: Path, access: cluster.KubernetesAccess, namespaces: dict[str, str], tmp_path: Path
) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(shape.read_text().replace("jobs-free", namespaces["jobs-free"]))
    rendered = objects(render(values, namespace=namespaces[NAMESPACE]))
    for each in rendered.values():
        each["metadata"].setdefault("namespace", namespaces[NAMESPACE])
    known = [each for each in rendered.values() if each["kind"] not in PROMETHEUS_KINDS]
    stdin = "---\n".join(map(yaml.safe_dump, known))
    said = kubectl(access, "apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=stdin)
    assert said.count("(server dry run)") == len(known)


@by_shape
def test_its_configuration_is_good(shape: Path, document: dict[str, Any]) -> None:
    written = configuration(render(shape))
    written["grpc"].pop("tls", None)  # its files are in the pod only
    written["runner"]["privateKey"] = document["runner"]["privateKey"]
    written["deepsource"]["publicKey"] = document["deepsource"]["publicKey"]
    assert parse(yaml.safe_dump(written), {}).sidecar.socket == "/run/orchestrator/runner.sock"


@by_shape
def test_every_container_fits_the_restricted_profile_and_a_read_only_root(shape: Path) -> None:
    for pod in pods(shape):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


@by_shape
def test_only_the_runner_and_the_tracker_get_the_keys_and_the_account(shape: Path) -> None:
    for pod in pods(shape):
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            trusted = container["name"] in ("check-config", "runner", "tracker")
            variables = {each["name"] for each in container.get("env", [])}
            mounts = {each["name"] for each in container.get("volumeMounts", [])}
            assert ("ORCHESTRATOR_PRIVATE_KEY" in variables) is trusted
            assert ("account" in mounts) is trusted
            assert ("ORCHESTRATOR_AMQP_URL" in variables) <= (container["name"] in ("check-config", "amqp"))


def test_the_versions_are_the_servers() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_the_roles_are_those_that_are_shipped_alone() -> None:
    shipped = yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "rbac.yaml").read_text())
    (rules,) = (each["rules"] for each in shipped if each["kind"] == "Role")
    roles = [each for each in yaml.safe_load_all(render(CHART / "ci" / "everything.yaml")) if each["kind"] == "Role"]
    assert {each["metadata"]["namespace"] for each in roles} == {NAMESPACE, "jobs-free"}
    assert all(each["rules"] == rules for each in roles)


def test_no_role_is_made_for_nomad() -> None:
    assert not [kind for kind, _ in objects(render(smallest(config={"driver": "nomad"}))) if kind.startswith("Role")]


def test_the_configuration_is_checked_first_and_the_runner_outlives_the_functions() -> None:
    (pod,) = [each for each in pods(smallest()) if "initContainers" in each]
    check, runner = pod["initContainers"]
    assert (check["name"], check["command"][-1]) == ("check-config", "check-config")
    assert (runner["name"], runner["restartPolicy"]) == ("runner", "Always")


@by_shape
def test_kubectl_chooses_the_container_that_has_the_configuration(shape: Path) -> None:
    for (kind, _), each in objects(render(shape)).items():
        if kind == "Deployment":
            pod = each["spec"]["template"]
            chosen = pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"]
            containers = {one["name"]: one for one in [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]}
            assert "ORCHESTRATOR_CONFIG" in {one["name"] for one in containers[chosen]["env"]}


def test_a_changed_configuration_starts_new_pods() -> None:
    def checksum(**config: Any) -> str:
        deployment = objects(render(smallest(config=config)))["Deployment", NAME]
        annotation: str = deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        return annotation

    assert checksum() == checksum()
    assert checksum() != checksum(log={"level": "debug"})


@by_shape
def test_a_pod_keeps_the_configuration_that_it_was_made_with(shape: Path) -> None:
    """What an upgrade changes must not reach pods that still run: they may be all that serves."""
    templates = [each["spec"]["template"] for (kind, _), each in objects(render(shape)).items() if kind == "Deployment"]
    for pod in templates:
        (volume,) = (each for each in pod["spec"]["volumes"] if each["name"] == "config")
        (item,) = volume["downwardAPI"]["items"]
        assert item["path"] == "orchestrator.yaml"
        assert item["fieldRef"]["fieldPath"] == "metadata.annotations['orchestrator/config']"
    assert len({pod["metadata"]["annotations"]["orchestrator/config"] for pod in templates}) == 1


def test_the_pod_of_helm_test_is_scheduled_as_the_others_are() -> None:
    scheduling = {
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["x"]}],
    }
    for pod in pods(smallest(**scheduling)):
        assert {name: pod.get(name) for name in scheduling} == scheduling


def test_separate_functions_have_a_deployment_a_service_and_routes_each() -> None:
    rendered = objects(render(CHART / "ci" / "separate.yaml"))
    deployments = {name for kind, name in rendered if kind == "Deployment"}
    apart = {f"{NAME}-{name}" for name in (*FUNCTIONS, "grpc", "amqp", "tracker")}
    assert deployments == apart | {NAME}
    (rule,) = rendered["Ingress", NAME]["spec"]["rules"]
    ways = {each["path"]: each["backend"]["service"]["name"] for each in rule["http"]["paths"]}
    paths = {path: f"{NAME}-{name}" for name, row in FUNCTIONS.items() for path in row.paths}
    assert ways == paths | {"/": NAME}
    routes = rendered["HTTPRoute", NAME]["spec"]["rules"]
    matched = {m["path"]["value"]: each["backendRefs"][0]["name"] for each in routes for m in each["matches"]}
    assert matched == ways
    for name in FUNCTIONS:
        deployment = rendered["Deployment", f"{NAME}-{name}"]["spec"]
        (container,) = deployment["template"]["spec"]["containers"]
        module = container["command"][1].partition(":")[0].replace(".", "/")
        assert (ROOT / f"{module}.py").exists()
        assert rendered["Service", f"{NAME}-{name}"]["spec"]["selector"]["app.kubernetes.io/component"] == name
        assert deployment["replicas"] == (4 if name == "analysis" else 2)
        runner = deployment["template"]["spec"]["initContainers"][1]
        assert "--no-tracker" in runner["command"]


def test_egress_of_a_pools_jobs_is_limited_in_its_namespace() -> None:
    rendered = objects(render(CHART / "ci" / "everything.yaml"))
    policy = rendered["NetworkPolicy", f"{NAME}-jobs"]
    assert policy["metadata"]["namespace"] == "jobs-free"
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert policy["spec"]["egress"][1]["to"] == [{"ipBlock": {"cidr": "203.0.113.0/24"}}]


def test_monitoring_comes_with_the_kinds_that_the_cluster_knows(tmp_path: Path) -> None:
    chart = tmp_path / "orchestrator"
    shutil.copytree(CHART, chart, ignore=shutil.ignore_patterns("monitoring"))
    (chart / "monitoring").mkdir()
    (chart / "monitoring" / "alerts.yaml").write_text("groups:\n- name: orchestrator\n  rules: []\n")
    (chart / "monitoring" / "dashboard.json").write_text(json.dumps({"title": "x", "expr": "{{ pod }}"}))
    values = smallest(metrics={"enabled": True})
    known, unknown = (objects(render(values, chart=chart, prometheus=each)) for each in (True, False))
    assert known["PrometheusRule", NAME]["spec"]["groups"][0]["name"] == "orchestrator"
    assert {kind for kind, _ in known} - {kind for kind, _ in unknown} == PROMETHEUS_KINDS
    assert json.loads(unknown["ConfigMap", f"{NAME}-dashboard"]["data"]["orchestrator.json"])["expr"] == "{{ pod }}"
    assert "metrics" in configuration(render(values, chart=chart))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "runner"),
        (smallest(replicas=2), "replicas"),
        (smallest(config={"runner": {"id": "r", "privateKey": "x"}}), "config.runner.privateKey is a secret"),
        (smallest(config={"http": {"bind": "127.0.0.1:8080"}}), "config.http.bind is a loopback address"),
        (smallest(gateway={"enabled": True}), "name one in gateway.parentRefs"),
        (smallest(jobEgress={"plan-x": []}), "jobEgress.plan-x names a pool without jobs on Kubernetes"),
        (
            smallest(jobEgress={"plan-x": []}, config={"pools": {"plan-x": {}}}),
            "would hold for the pool default too",
        ),
        (smallest(config={"driver": "local"}), "driver"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_changed(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        render(values)


def configuration(manifests: str) -> dict[str, Any]:
    """What the pods get as /etc/orchestrator/orchestrator.yaml."""
    pod = objects(manifests)["Deployment", NAME]["spec"]["template"]
    document: dict[str, Any] = yaml.safe_load(pod["metadata"]["annotations"]["orchestrator/config"])
    return document


def pods(values: Path | dict[str, Any]) -> list[dict[str, Any]]:
    """The specs of all pods."""
    rendered = objects(render(values))
    templates = [each["spec"]["template"]["spec"] for (kind, _), each in rendered.items() if kind == "Deployment"]
    return [*templates, *(each["spec"] for (kind, _), each in rendered.items() if kind == "Pod")]
