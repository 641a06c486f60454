"""What a real API server admits and rejects, and how jobs run and end there."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from runner.drivers.kubernetes.driver import KubernetesDriver
from runner.drivers.kubernetes.manifest import SECRET
from runner.drivers.printer import render
from runner.errors import Busy, Conflict, Rejected
from runner.jobs import SecretRef, State
from runner.outcomes import classify
from tests.conformance.jobs import cancellation
from tests.harness.deadlines import within
from tests.kubernetes.jobs import analysis, seen, shell, until
from tests.kubernetes.namespaces import ROOT, Namespace

Sample = Callable[[str], dict[str, Any]]


def test_what_render_prints_passes_the_api_servers_dry_run(namespace: Namespace, sample: Sample) -> None:
    config = namespace.config()
    manifests = render(analysis(config, sample, "dry-run"), config)

    printed = namespace.kubectl("create", "--dry-run=server", "-f", "-", stdin=manifests)

    assert "job.batch/analysis-s0-dry-run-1 created (server dry run)" in printed
    assert "secret/analysis-s0-dry-run-1-00000000 created (server dry run)" in printed


def test_our_pods_run_where_the_restricted_profile_is_enforced(
    namespace: Namespace, shell_image: str, sample: Sample
) -> None:
    driver = namespace.driver()
    job = shell(analysis(namespace.config(), sample, "restricted"), shell_image, "id -u; id -g; touch /code/x")
    driver.submit(job, within(10))
    until(lambda: seen(driver, job.name).ended, what="the end of the job")

    assert seen(driver, job.name).phase == "succeeded"
    assert driver.logs(job.name) == "1000\n3000\n"
    refused = namespace.kubectl("run", "root", f"--image={shell_image}", "--dry-run=server", check=False)
    assert 'violates PodSecurity "restricted' in refused, "the namespace enforces nothing"


def test_secrets_reach_the_program_and_nothing_else(namespace: Namespace, shell_image: str, sample: Sample) -> None:
    driver = namespace.driver()
    job = analysis(namespace.config(), sample, "secrets")
    env = (("RESULT_HTTP_TOKEN", SecretRef(name="RESULT_HTTP_TOKEN")),)
    script = 'printf "%s\n" "$1" "$RESULT_HTTP_TOKEN" | rev'  # reversed, so that the log does not contain the values
    job = shell(job, shell_image, script, SecretRef(name="REMOTE_URL"), env=env)
    driver.submit(job, within(10))
    until(lambda: seen(driver, job.name).ended, what="the end of the job")

    received = [line[::-1] for line in driver.logs(job.name).splitlines()]
    assert received == [f"sealed-REMOTE_URL-of-{job.name}", f"sealed-RESULT_HTTP_TOKEN-of-{job.name}"]
    for kind in ("jobs", "pods", "events"):
        assert "sealed-" not in json.dumps(namespace.objects(kind)), kind
        assert "sealed-" not in namespace.kubectl("describe", kind), kind


@pytest.mark.parametrize(
    "branch",
    ["$(RESULT_HTTP_TOKEN)", "$$(RESULT_HTTP_TOKEN)", "${HOME}", '{{ env "X" }}', "a$$b", "`id`", "'\"", "$(("],
)
def test_a_hostile_branch_name_arrives_unchanged(
    namespace: Namespace, shell_image: str, sample: Sample, branch: str
) -> None:
    driver = namespace.driver()
    env = (("RESULT_HTTP_TOKEN", SecretRef(name="RESULT_HTTP_TOKEN")), ("BRANCH", branch))
    job = shell(
        analysis(namespace.config(), sample, "hostile"), shell_image, 'printf "%s\\n" "$1" "$BRANCH"', branch, env=env
    )
    driver.submit(job, within(10))
    until(lambda: seen(driver, job.name).ended, what="the end of the job")

    assert driver.logs(job.name).splitlines() == [branch, branch]


def test_an_exceeded_quota_is_busy(namespace: Namespace, sample: Sample) -> None:
    hard = {"count/jobs.batch": "1"}
    namespace.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "one"}, "spec": {"hard": hard}})
    until(lambda: namespace.objects("resourcequota")[0].get("status", {}).get("hard"), what="the quota's controller")
    driver = namespace.driver()
    driver.submit(analysis(namespace.config(), sample, "first"), within(10))

    with pytest.raises(Busy, match="quota") as caught:
        driver.submit(analysis(namespace.config(), sample, "second"), within(10))

    assert caught.value.retry_after


def test_a_rejection_has_the_message_of_the_api_server(namespace: Namespace, sample: Sample) -> None:
    job = analysis(namespace.config(), sample, "refused")
    job = msgspec.structs.replace(job, labels={**job.labels, "manager": "no label value!"})

    with pytest.raises(Rejected, match=r"no label value!.*valid label"):
        namespace.driver().submit(job, within(10))


def test_the_error_names_a_missing_namespace(namespace: Namespace, sample: Sample) -> None:
    config = namespace.config(pools={"elsewhere": {"namespace": "not-there"}})
    driver = namespace.driver(pools={"elsewhere": {"namespace": "not-there"}})

    with pytest.raises(Rejected, match="not-there"):
        driver.submit(analysis(config, sample, "nowhere", pool="elsewhere"), within(10))


def test_after_a_crash_between_job_and_secret_a_repeated_submit_creates_the_secret(
    namespace: Namespace, shell_image: str, sample: Sample
) -> None:
    config = namespace.config()
    job = analysis(config, sample, "half-made")
    job = shell(job, shell_image, 'test -n "$1"', SecretRef(name="REMOTE_URL"))
    work = namespace.work / "half-made"
    work.mkdir()
    (work / "config").write_bytes(msgspec.json.encode(config))
    (work / "job").write_bytes(pickle.dumps(msgspec.structs.replace(job, secrets={})))
    command = (sys.executable, "-m", "tests.kubernetes.half_submit", str(work))
    died = subprocess.run(command, cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL
    assert len(namespace.objects("jobs")) == 1
    assert not namespace.objects("secrets")

    driver = namespace.driver()
    assert driver.submit(job, within(10)) == "exists"
    until(lambda: seen(driver, job.name).ended, what="the end of the job")

    assert seen(driver, job.name).phase == "succeeded"
    (secret,) = namespace.objects("secrets")
    (made,) = namespace.objects("jobs")
    assert secret["metadata"]["name"] == made["metadata"]["annotations"][SECRET]
    assert secret["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]


def test_a_deleted_job_can_be_created_again(namespace: Namespace, sample: Sample) -> None:
    """The old Job's Secret may still exist for a moment. The new Job does not use it."""
    driver = namespace.driver()
    job = analysis(namespace.config(), sample, "again")
    assert driver.submit(job, within(10)) == "created"
    namespace.kubectl("delete", "job", job.name, "--cascade=orphan")

    assert driver.submit(job, within(10)) == "created"
    assert len(namespace.objects("secrets")) == 2


def test_a_queued_job_waits_for_its_queue(namespace: Namespace, sample: Sample) -> None:
    pools = {"queued": {"queueName": "team-a"}}
    driver = namespace.driver(pools=pools)
    job = analysis(namespace.config(pools=pools), sample, "queued", pool="queued")
    driver.submit(job, within(10))

    (made,) = namespace.objects("jobs")
    assert made["spec"]["suspend"] is True
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"


def test_a_cancelled_queued_job_has_ended_even_if_its_queue_resumes_it(namespace: Namespace, sample: Sample) -> None:
    """A suspended Job has no deadline. If its queue never admits it, nothing else ends it."""
    pools = {"queued": {"queueName": "nobody"}}
    driver = namespace.driver(pools=pools)
    job = analysis(namespace.config(pools=pools), sample, "held", pool="queued")
    driver.submit(job, within(10))
    assert driver.cancel(cancellation(job.name), within(10), tombstone=False) == "cancelled"
    until(lambda: seen(driver, job.name).ended, seconds=10, what="the end of the cancelled job")
    outcome = classify(seen(driver, job.name))
    assert outcome is not None
    assert outcome.reason == "cancelled"
    assert driver.submit(job, within(10)) == "cancelled"

    namespace.kubectl("patch", "job", job.name, "--type=merge", "-p", '{"spec": {"suspend": false}}')
    until(lambda: namespace.objects("jobs")[0]["status"].get("conditions", [{}])[-1].get("type") == "Failed")
    assert not namespace.objects("pods")


def test_a_repeated_cancel_adds_the_tombstone_that_is_missing_in_one_namespace(
    namespace: Namespace, other_namespace: Namespace, sample: Sample
) -> None:
    subject = {"kind": "ServiceAccount", "name": "orchestrator", "namespace": namespace.name}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "orchestrator"}
    other_namespace.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "elsewhere"},
            "roleRef": role,
            "subjects": [subject],
        }
    )
    full = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}}
    other_namespace.apply({**full, "spec": {"hard": {"count/jobs.batch": "0"}}})
    until(lambda: other_namespace.objects("resourcequota")[0].get("status", {}).get("hard"), what="the quota")
    pools = {"elsewhere": {"namespace": other_namespace.name}}
    driver = namespace.driver(pools=pools)
    late = analysis(namespace.config(pools=pools), sample, "late", pool="elsewhere")
    with pytest.raises(Busy):
        _cancel_as_the_sidecar_does(driver, late.name)
    assert len(namespace.objects("jobs")) == 1

    other_namespace.kubectl("delete", "resourcequota", "full")
    until(lambda: _accepts(driver, late.name), what="the quota to be gone")
    assert driver.submit(late, within(10)) == "cancelled"


def _accepts(driver: KubernetesDriver, name: str) -> bool:
    try:
        return _cancel_as_the_sidecar_does(driver, name) == "cancelled"
    except Busy:
        return False


def _cancel_as_the_sidecar_does(driver: KubernetesDriver, name: str) -> State | None:
    stopped = driver.cancel(cancellation(name), within(10), tombstone=False)
    return stopped or driver.cancel(cancellation(name), within(10), tombstone=True)


def test_a_rotated_token_is_used_without_a_restart(namespace: Namespace, sample: Sample) -> None:
    driver = namespace.driver()
    driver.submit(analysis(namespace.config(), sample, "before"), within(10))
    namespace.renew_token(driver)

    assert driver.submit(analysis(namespace.config(), sample, "after"), within(10)) == "created"


def test_reasons_come_from_the_pod_status(namespace: Namespace, shell_image: str, sample: Sample) -> None:
    driver = namespace.driver()
    config = namespace.config()
    jobs = {
        "analyzer_failed": shell(analysis(config, sample, "exit-3"), shell_image, "echo broken; exit 3"),
        "out_of_memory": shell(
            analysis(config, sample, "oom"), shell_image, "head -c 200m /dev/zero | tail -c 200m > /dev/null; exit 137"
        ),
    }
    for job in jobs.values():
        driver.submit(job, within(10))
    until(lambda: all(seen(driver, job.name).ended for job in jobs.values()), what="both ends")

    for reason, job in jobs.items():
        outcome = classify(seen(driver, job.name))
        assert outcome is not None
        assert outcome.reason == reason, outcome
    missing = shell(analysis(config, sample, "no-image"), "localhost/not-there:1", "true")
    driver.submit(missing, within(10))
    until(lambda: seen(driver, missing.name).image_error, what="the image error")


def test_a_different_request_for_the_same_name_is_a_conflict(namespace: Namespace, sample: Sample) -> None:
    driver = namespace.driver()
    job = analysis(namespace.config(), sample, "name")
    driver.submit(job, within(10))

    with pytest.raises(Conflict, match="run_id"):
        driver.submit(msgspec.structs.replace(job, fingerprint="0" * 32), within(10))
