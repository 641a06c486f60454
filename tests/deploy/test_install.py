"""The chart, installed on a real cluster from an empty namespace, with the image that deploy/Dockerfile makes."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests import cluster
from tests.conftest import KeyPair
from tests.deploy import image
from tests.deploy.chart import CHART, helm, kubectl, smallest, values_file
from tests.deploy.service_addresses import service_addresses
from tests.kubernetes.jobs import until

pytestmark = [pytest.mark.usefixtures("helm_program"), pytest.mark.timeout(600)]
NAME = "orchestrator"
PATIENCE = "120s"
POST = """
import json, sys, urllib.request
body, url, token = sys.stdin.buffer.read(), *sys.argv[1:]
request = urllib.request.Request(url, body, {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
with urllib.request.urlopen(request, timeout=20) as answer:
    print(json.dumps([answer.status, json.load(answer)]))
"""


class Installed(msgspec.Struct):
    """A release in a namespace of its own."""

    access: cluster.KubernetesAccess
    namespace: str
    work: Path
    values: dict[str, Any]

    def helm(self, *arguments: str | Path) -> str:
        return helm("--kubeconfig", self.access.kubeconfig, "--namespace", self.namespace, *arguments)

    def upgrade(self, **values: Any) -> None:
        path = values_file(self.work, {**self.values, **values})
        self.helm("upgrade", "--install", NAME, CHART, "--values", path, "--wait", "--timeout", PATIENCE)

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return kubectl(self.access, "--namespace", self.namespace, *arguments, stdin=stdin)

    @property
    def address(self) -> str:
        """The Service's own."""
        return self.kubectl("get", "service", NAME, "-o", "jsonpath={.spec.clusterIP}")

    def pods(self) -> dict[str, dict[str, Any]]:
        """The functions' pods that are not being ended, by name."""
        listed = json.loads(self.kubectl("get", "pods", "-l", "app.kubernetes.io/component=functions", "-o", "json"))
        return {
            each["metadata"]["name"]: each for each in listed["items"] if "deletionTimestamp" not in each["metadata"]
        }


@pytest.fixture(scope="module")
def reference(real_servers: cluster.Cluster) -> str:
    return image.built()


@pytest.fixture(scope="module")
def installed(
    reference: str,
    access: cluster.KubernetesAccess,
    tmp_path_factory: pytest.TempPathFactory,
    runner_keys: KeyPair,
    atlas_keys: KeyPair,
) -> Iterator[Installed]:
    namespace = f"t-{uuid.uuid4().hex[:10]}"
    repository, _, tag = reference.rpartition(":")
    values = smallest(image={"repository": repository, "tag": tag}, drainSeconds=1)
    made = Installed(access, namespace, tmp_path_factory.mktemp("install"), values)
    kubectl(access, "create", "namespace", namespace)
    kubectl(access, "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    keys = {"ORCHESTRATOR_PRIVATE_KEY": runner_keys.private, "ORCHESTRATOR_PUBLIC_KEY": atlas_keys.public}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "orchestrator-keys"}, "stringData": keys}
    made.kubectl("apply", "-f", "-", stdin=json.dumps(secret))
    try:
        with service_addresses(access, "default", namespace):
            made.upgrade()
            aliases = [{"ip": made.address, "hostnames": [NAME]}]  # the test cluster has no name server
            made.values = {**made.values, "hostAliases": aliases}
            made.upgrade()
            yield made
    finally:
        kubectl(access, "delete", "namespace", namespace, "--wait=false")


def test_the_image_runs_as_a_user_and_has_bytecode_and_no_compiler(reference: str) -> None:
    configuration = image.inspect(reference)
    assert configuration["User"] == "1000:1000"
    assert configuration["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    script = (
        "command -v cc gcc c++ make && exit 1;"
        " test -e /opt/orchestrator/runner/__pycache__/composition.cpython-*.pyc || exit 2;"
        " test -w /opt/orchestrator && exit 3;"
        " exec python -m runner --version"
    )
    run = ("run", "--rm", "--network=none", "--read-only", "--tmpfs=/tmp", "--entrypoint=/bin/sh", reference)
    version = configuration["Labels"]["org.opencontainers.image.version"]
    assert image.docker(*run, "-c", script).decode() == f"orchestrator {version}\n"


def test_two_replicas_become_ready(installed: Installed) -> None:
    pods = installed.pods()
    assert len(pods) == 2
    for pod in pods.values():
        statuses = [*pod["status"]["initContainerStatuses"], *pod["status"]["containerStatuses"]]
        assert {each["name"]: each["restartCount"] for each in statuses} == {"check-config": 0, "runner": 0, "http": 0}


def test_a_request_through_the_service_makes_a_job(
    installed: Installed, sample: Callable[[str], dict[str, Any]], token: Callable[..., str]
) -> None:
    (pod, *_) = installed.pods()
    url = f"http://{installed.address}/tasks/analysis"
    body = json.dumps(sample("analysis"))
    said = installed.kubectl("exec", "-i", pod, "-c", "http", "--", "python", "-c", POST, url, token(), stdin=body)
    status, answer = json.loads(said)
    assert status == 201
    jobs = json.loads(installed.kubectl("get", "jobs", "-l", "manager=runner", "-o", "json"))["items"]
    assert {each["metadata"]["name"] for each in jobs} == {each["name"] for each in answer["jobs"]}


def test_its_own_test_passes(installed: Installed) -> None:
    assert '"status":"ok"' in installed.helm("test", NAME, "--logs", "--timeout", PATIENCE)


def test_the_commands_of_the_runbook_need_no_name_of_a_container(installed: Installed) -> None:
    said = installed.kubectl("exec", f"deploy/{NAME}", "--", "python", "-m", "runner", "jobs", "list", "-o", "name")
    assert said.startswith("analysis-")
    check = ("exec", f"deploy/{NAME}", "--", "python", "-m", "runner", "check-config", "--connect")
    found = kubectl(installed.access, "--namespace", installed.namespace, *check, check=False)
    # Not the checks of the API server and of atlas: the addresses of Services are slow here, and atlas is nowhere.
    assert re.search(r"^ok +sidecar\.socket in /run/orchestrator", found, re.M), found
    notes = installed.helm("get", "notes", NAME)
    selector = re.search(r"logs --selector (\S+)", notes)
    assert selector
    assert "good" in installed.kubectl("logs", "--selector", selector[1], "--container", "check-config")


def test_an_upgrade_with_a_changed_configuration_replaces_the_pods(installed: Installed) -> None:
    before = set(installed.pods())
    installed.upgrade()
    assert set(installed.pods()) == before
    installed.upgrade(config={**installed.values["config"], "log": {"level": "debug"}})
    assert not before & set(installed.pods())


def test_a_wrong_configuration_starts_nothing_and_says_why(installed: Installed) -> None:
    before = set(installed.pods())
    path = values_file(
        installed.work, {**installed.values, "config": {**installed.values["config"], "limits": {"x": 1}}}
    )
    installed.helm("upgrade", NAME, CHART, "--values", path)
    until(lambda: set(installed.pods()) - before, what="a new pod")
    (new,) = set(installed.pods()) - before
    logs = ("--namespace", installed.namespace, "logs", new, "--container", "check-config")
    until(lambda: "limits.x" in kubectl(installed.access, *logs, check=False), what="the check's complaint")
    assert before <= set(installed.pods())
    for pod in before:  # they would read it if their runner restarted
        assert "The configuration is good" in installed.kubectl(
            "exec", pod, "--", "python", "-m", "runner", "check-config"
        )
