"""Access to a real API server: in a pod and outside, with each kind of credentials, and through a proxy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from runner import composition
from runner.drivers.kubernetes.driver import KubernetesDriver
from runner.errors import Rejected
from runner.jobs import JobSpec
from tests.cluster.certificates import Authority
from tests.harness.deadlines import within
from tests.harness.scripted_server import Conversation, scripted_server
from tests.kubernetes.jobs import analysis, until
from tests.kubernetes.namespaces import ROOT, Namespace, resolve_secrets

Sample = Callable[[str], dict[str, Any]]

EXECUTED = """#!/bin/sh
echo >> {runs}
printf '{{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {{"token": "%s"}}}}' \\
  "$(cat {token})"
"""

IN_A_POD = """
set -e
mount -t tmpfs none /run
mkdir -p /run/secrets/kubernetes.io/serviceaccount
cd /run/secrets/kubernetes.io/serviceaccount
cp "$TOKEN" token && cp "$CA" ca.crt && printf %s "$NAMESPACE" > namespace
cd "$ROOT" && exec "$PYTHON" -m runner jobs list --config "$CONFIG"
"""


def driver_of(namespace: Namespace, user: dict[str, Any], **cluster: str) -> KubernetesDriver:
    """A driver whose kubeconfig has this user entry and these changes to the cluster entry."""
    path = namespace.kubeconfig()
    document = yaml.safe_load(path.read_text())
    document["users"][0]["user"] = user
    document["clusters"][0]["cluster"] |= cluster
    path.write_text(yaml.safe_dump(document))
    kubernetes = {"namespace": namespace.name, "kubeconfig": str(path)}
    config = namespace.make_config(driver="kubernetes", kubernetes=kubernetes)
    return composition.kubernetes(config, resolve_secrets, composition.system())


def test_a_credential_plugin_is_run_once_and_again_after_its_token_was_rejected(
    namespace: Namespace, tmp_path: Path, sample: Sample
) -> None:
    runs, plugin = tmp_path / "runs", tmp_path / "plugin"
    plugin.write_text(EXECUTED.format(runs=runs, token=namespace.token_file))
    plugin.chmod(0o755)
    version = "client.authentication.k8s.io/v1"
    driver = driver_of(namespace, {"exec": {"apiVersion": version, "command": str(plugin), "interactiveMode": "Never"}})
    for name in ("first", "second"):
        assert driver.submit(analysis(namespace.config(), sample, name), within(10)) == "created"
    assert runs.read_text() == "\n", "a plugin is not run for each request"

    namespace.renew_token(driver)
    assert driver.submit(analysis(namespace.config(), sample, "third"), within(10)) == "created"


def test_a_client_certificate_authenticates(namespace: Namespace, sample: Sample) -> None:
    pair = Authority(namespace.access.ca.parent, "").issue(f"visitor-{namespace.name}")
    driver = driver_of(namespace, {"client-certificate": str(pair.certificate), "client-key": str(pair.key)})
    binding = ("--role=orchestrator", f"--user=visitor-{namespace.name}")
    namespace.kubectl("create", "rolebinding", "visitor", *binding)
    assert driver.submit(analysis(namespace.config(), sample, "certified"), within(10)) == "created"


def test_in_a_pod_the_service_account_is_used(namespace: Namespace, tmp_path: Path, sample: Sample) -> None:
    """Runs in a separate mount namespace, so that the files are at the paths of a pod."""
    job = analysis(namespace.config(), sample, "seen-from-a-pod")
    namespace.driver().submit(job, within(10))
    config = namespace.config()
    path = tmp_path / "orchestrator.yaml"
    document = {
        "runner": {"id": config.runner.id, "privateKey": config.runner.private_key},
        "deepsource": {"host": config.deepsource.host, "publicKey": config.deepsource.public_key},
        "driver": "kubernetes",
        "kubernetes": {"namespace": namespace.name},
    }
    path.write_text(yaml.safe_dump(document))
    server = urlsplit(namespace.access.url)
    environment = {
        "KUBERNETES_SERVICE_HOST": str(server.hostname),
        "KUBERNETES_SERVICE_PORT": str(server.port),
        "TOKEN": str(namespace.token_file),
        "CA": str(namespace.access.ca),
        "NAMESPACE": namespace.name,
        "ROOT": str(ROOT),
        "PYTHON": sys.executable,
        "CONFIG": str(path),
    }
    command = ("unshare", "--mount", "/bin/sh", "-c", IN_A_POD)
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert job.name in done.stdout


class TestImpersonation:
    def test_the_user_that_is_named_is_acted_as(self, namespace: Namespace, sample: Sample) -> None:
        administrator = yaml.safe_load(namespace.access.kubeconfig.read_text())["users"][0]["user"]
        driver = driver_of(namespace, {**administrator, "as": "nobody", "as-groups": ["readers"]})
        job = analysis(namespace.config(), sample, "impersonated")
        with pytest.raises(Rejected, match=r'User "nobody" cannot create resource "jobs".*; grant it as in deploy'):
            driver.submit(job, within(10))
        namespace.kubectl("create", "rolebinding", "readers", "--role=orchestrator", "--group=readers")
        until(lambda: _accepted(driver, job), what="the API server to see the new binding")

    def test_a_missing_right_to_impersonate_is_named(self, namespace: Namespace, sample: Sample) -> None:
        driver = driver_of(namespace, {"tokenFile": str(namespace.token_file), "as": "nobody"})
        with pytest.raises(
            Rejected, match=r'cannot impersonate resource "users".*; grant that user the verb impersonate'
        ):
            driver.submit(analysis(namespace.config(), sample, "impersonated"), within(10))


def _accepted(driver: KubernetesDriver, job: JobSpec) -> bool:
    try:
        return driver.submit(job, within(10)) in ("created", "exists")
    except Rejected:
        return False


POLICY: dict[str, Any] = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicy",
    "spec": {
        "matchConstraints": {
            "resourceRules": [
                {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}
            ]
        },
        "validations": [{"expression": "false", "message": "no jobs on Fridays", "reason": "Forbidden"}],
    },
}


class TestRefusalsThatPermissionsDoNotCure:
    """The API server answers 403 to them as well."""

    def test_a_policy_is_quoted_without_advice(self, namespace: Namespace, sample: Sample) -> None:
        name = f"no-jobs-{namespace.name}"
        selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}}
        binding = {
            "apiVersion": POLICY["apiVersion"],
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": selector},
        }
        driver, config = namespace.driver(), namespace.config()
        try:
            namespace.apply({**POLICY, "metadata": {"name": name}}, binding)
            said: list[str] = []

            def is_refused() -> bool:
                try:
                    driver.submit(analysis(config, sample, f"friday-{len(said)}"), within(10))
                except Rejected as error:
                    said.append(error.detail)
                    return True
                said.append("")
                return False

            until(is_refused, what="the policy to be enforced")
        finally:
            namespace.kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name)
        assert "the API server refused to create jobs" in said[-1]
        assert "no jobs on Fridays" in said[-1]
        assert "grant" not in said[-1]

    def test_a_namespace_that_is_being_deleted_is_quoted_without_advice(
        self, namespace: Namespace, sample: Sample
    ) -> None:
        held = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "held", "finalizers": ["test.example/held"]},
        }
        namespace.apply(held)
        driver, config = namespace.driver(), namespace.config()
        assert driver.submit(analysis(config, sample, "before"), within(10)) == "created"
        namespace.delete()
        try:
            with pytest.raises(Rejected) as caught:
                driver.submit(analysis(config, sample, "after"), within(10))
        finally:
            namespace.kubectl("patch", "configmap", "held", "--type=merge", '-p={"metadata":{"finalizers":null}}')
        assert "because it is being terminated" in caught.value.detail
        assert "grant" not in caught.value.detail


class TestProxy:
    @pytest.mark.parametrize("named_by", ["the kubeconfig", "the environment"])
    def test_is_used(
        self, namespace: Namespace, sample: Sample, monkeypatch: pytest.MonkeyPatch, named_by: str
    ) -> None:
        user = {"token": namespace.token_file.read_text()}
        with scripted_server(Conversation.tunnel) as proxy:
            monkeypatch.setenv("NO_PROXY", "")
            if named_by == "the environment":
                monkeypatch.setenv("HTTPS_PROXY", proxy.url)
                driver = driver_of(namespace, user)
            else:
                driver = driver_of(namespace, user, **{"proxy-url": proxy.url})
            assert driver.submit(analysis(namespace.config(), sample, "proxied"), within(10)) == "created"
        assert {(asked.method, asked.path) for asked in proxy.asked} == {
            ("CONNECT", urlsplit(namespace.access.url).netloc)
        }

    def test_is_bypassed_for_hosts_in_no_proxy(self, namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", str(urlsplit(namespace.access.url).hostname))
        driver_of(namespace, {"token": namespace.token_file.read_text()}).check()
