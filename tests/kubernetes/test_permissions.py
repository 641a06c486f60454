"""The shipped Role has exactly the verbs that the driver uses. If one is missing, an error names it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import yaml

from runner.drivers.kubernetes.driver import KubernetesDriver
from runner.errors import Rejected
from runner.jobs import Cancellation
from runner.observation import Observation, Outcome
from tests.harness.deadlines import within
from tests.harness.rounds import observed
from tests.kubernetes.jobs import analysis
from tests.kubernetes.namespaces import RBAC, Namespace

ROLE: dict[str, Any] = next(each for each in yaml.safe_load_all(RBAC.read_text()) if each["kind"] == "Role")
VERBS = [(rule["resources"][0], verb) for rule in ROLE["rules"] for verb in rule["verbs"]]


@pytest.fixture(autouse=True)
def brief_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch ends after a second. The tests call each operation some thirty times."""
    monkeypatch.setattr("runner.drivers.kubernetes.source.WATCH_SECONDS", 1)


class Unseen:
    """A view that keeps nothing."""

    def replace(self, place: str, listed: Iterable[Observation]) -> None:
        pass

    def update(self, seen: Observation) -> None:
        pass

    def left(self, seen: Observation) -> None:
        pass

    def alive(self) -> None:
        pass


def everything(driver: KubernetesDriver, job: Any, name: str) -> None:
    """Every operation of the driver."""
    driver.check()
    driver.submit(job, within(10))
    driver.submit(job, within(10))
    seen = next(each for each in observed(driver) if each.name == job.name)
    driver.find(seen)
    driver.explain(seen)
    cancellation = Cancellation(name=job.name, labels=job.labels, report=job.report)
    driver.cancel(cancellation, within(10), tombstone=True)
    driver.mark_reported(seen, Outcome(reason="cancelled", code=5000, hmessage=""))
    driver.logs(name)
    store = driver.election()
    known = store.read(within(10))
    store.write("a tracker", known[1] if known else "", within(10))
    if known is None:
        store.write("a tracker", store.read(within(10))[1], within(10))  # type: ignore[index]  # it was just written
    view = Unseen()
    for source in driver.sources():
        source.follow(view)


def _pod(namespace: Namespace, image: str) -> str:
    """Create a pod with the labels of a job's pod, whose log can be read."""
    name = "with-log"
    labels = {"role": "analysis", "batch.kubernetes.io/job-name": name}
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "main", "image": image, "command": ["/bin/echo", "hello"], "securityContext": security}
    profile = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    specification = {"restartPolicy": "Never", "securityContext": profile, "containers": [container]}
    metadata = {"name": name, "labels": labels}
    namespace.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": specification})
    namespace.kubectl("wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    return name


def test_the_shipped_role_is_enough(namespace: Namespace, shell_image: str, sample: Callable[[str], Any]) -> None:
    driver = namespace.driver()
    everything(driver, analysis(namespace.config(), sample, "all-verbs"), _pod(namespace, shell_image))


def test_every_verb_of_the_shipped_role_is_needed(
    namespace: Namespace, shell_image: str, sample: Callable[[str], Any]
) -> None:
    """Removes one verb after the other from the Role and expects an error that names it."""
    pod = _pod(namespace, shell_image)
    for number, (resource, verb) in enumerate(VERBS):
        namespace.kubectl("delete", "lease", "--all")  # so that one is created again
        rules = [
            {**rule, "verbs": [each for each in rule["verbs"] if (rule["resources"][0], each) != (resource, verb)]}
            for rule in ROLE["rules"]
        ]
        namespace.apply({**ROLE, "rules": [rule for rule in rules if rule["verbs"]]})
        job = analysis(namespace.config(), sample, f"verb-{number}")
        said = _refusal(namespace, job, pod)
        assert f"{verb} {resource} in namespace {namespace.name}" in said
        assert "deploy/kubernetes" in said


def _refusal(namespace: Namespace, job: Any, pod: str) -> str:
    """The error text after the authorizer has applied the changed Role, which takes a moment."""
    for _ in range(50):
        try:
            everything(namespace.driver(), job, pod)
        except Rejected as error:
            return error.detail
    return "no operation needs this verb"
