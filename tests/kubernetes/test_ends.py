"""How jobs are ended, marked and cancelled on a real API server: the guards, and what its controllers make of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from runner.drivers.kubernetes.driver import KubernetesDriver
from runner.drivers.kubernetes.manifest import job_manifest
from runner.jobs import Cancellation
from runner.observation import Outcome
from runner.outcomes import classify
from tests.harness.deadlines import within
from tests.kubernetes.jobs import analysis, seen, shell, until
from tests.kubernetes.namespaces import Namespace

Sample = Callable[[str], dict[str, Any]]
OUTCOME = Outcome(reason="unschedulable", code=5102, hmessage="No machine had room for the job.", err="0/1 nodes")
QUEUE = {"queued": {"queueName": "nobody"}}


def cancel(driver: KubernetesDriver, job: Any) -> str | None:
    cancellation = Cancellation(name=job.name, labels=job.labels, report=job.report)
    return driver.cancel(cancellation, within(10), tombstone=False)


@pytest.mark.parametrize("pool", ["default", "queued"])
def test_a_job_that_is_ended_has_no_pod_left_and_keeps_its_outcome(
    namespace: Namespace, shell_image: str, sample: Sample, pool: str
) -> None:
    driver = namespace.driver(pools=QUEUE)
    job = shell(analysis(namespace.config(pools=QUEUE), sample, "ended", pool=pool), shell_image, "exec sleep 1000")
    driver.submit(job, within(10))
    if pool == "default":
        until(lambda: seen(driver, job.name).phase == "running", what="the start")
    else:
        until(lambda: seen(driver, job.name).held, what="the queue to hold it")
    assert driver.end(seen(driver, job.name), OUTCOME)
    assert not driver.end(seen(driver, job.name), msgspec.structs.replace(OUTCOME, reason="timed_out"))
    until(lambda: not namespace.objects("pods") and seen(driver, job.name).phase == "failed", what="its end")
    assert classify(seen(driver, job.name)) == OUTCOME


def test_a_mark_tests_the_uid_and_that_no_cancel_came(namespace: Namespace, shell_image: str, sample: Sample) -> None:
    driver = namespace.driver()
    job = shell(analysis(namespace.config(), sample, "marked"), shell_image, "exit 3")
    driver.submit(job, within(10))
    until(lambda: seen(driver, job.name).ended, what="its end")
    before = seen(driver, job.name)

    assert not driver.mark_reported(msgspec.structs.replace(before, identity="another"), OUTCOME)
    assert driver.mark_reported(before, OUTCOME)
    assert seen(driver, job.name).reported
    assert cancel(driver, job) == "exists"
    assert not driver.mark_reported(before, OUTCOME)

    found = seen(driver, job.name)
    assert (found.reported, found.published, found.ended_as and found.ended_as.code) == (False, "unschedulable", 5107)
    assert "ttlSecondsAfterFinished" not in namespace.objects("jobs")[0]["spec"]
    assert driver.mark_reported(found, OUTCOME)
    assert seen(driver, job.name).reported


def test_a_container_beside_the_jobs_own_keeps_no_run_open(
    namespace: Namespace, shell_image: str, sample: Sample
) -> None:
    driver = namespace.driver()
    job = msgspec.structs.replace(
        shell(analysis(namespace.config(), sample, "beside"), shell_image, "exit 3"), secrets={}
    )
    manifest = job_manifest(job, namespace.config(), nonce="0a1b")
    containers = manifest["spec"]["template"]["spec"]["containers"]
    containers.append({**containers[0], "name": "proxy", "args": [], "command": ["/bin/sleep", "1000"]})
    namespace.apply(manifest)
    until(lambda: seen(driver, job.name).lingers, what="the end of the main container")

    found = seen(driver, job.name)
    assert (found.phase, found.main_exit, found.container) == ("failed", 3, "main")
    outcome = classify(found)
    assert outcome is not None
    assert driver.end(found, outcome)
    until(lambda: not namespace.objects("pods"), what="the end of the pod")
    assert classify(seen(driver, job.name)) == outcome


def test_what_only_the_events_say(namespace: Namespace, shell_image: str, sample: Sample) -> None:
    limit = {"type": "Container", "max": {"memory": "1Mi"}}
    namespace.apply(
        {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "tiny"}, "spec": {"limits": [limit]}}
    )
    driver = namespace.driver()
    job = shell(analysis(namespace.config(), sample, "refused"), shell_image, "true")
    driver.submit(job, within(10))
    until(lambda: driver.explain(seen(driver, job.name)).not_admitted, what="the event")
    said = driver.explain(seen(driver, job.name)).not_admitted
    assert said.startswith("pods ")
    assert "maximum memory usage per Container is 1Mi" in said
