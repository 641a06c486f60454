"""Faults of the API server: every submit returns by its deadline; after repeats each job exists exactly once."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from runner import composition
from runner.drivers.kubernetes.driver import KubernetesDriver
from runner.errors import Busy, Timeout, Unavailable
from runner.jobs import JobSpec
from tests.harness.deadlines import within
from tests.harness.faulty_proxy import FAULTS, faulty_proxy
from tests.kubernetes.jobs import analysis
from tests.kubernetes.namespaces import Namespace

SUBMITS = 200
SHARE = 0.2
DEADLINE = 2.0
FAILURE = '{"kind":"Status","status":"Failure","message":"etcdserver: leader changed","code":500}'

# A queue name suspends the jobs: the test needs 200 Jobs, not 200 pods.
POOLS = {"queued": {"queueName": "nobody"}}


@pytest.mark.parametrize("fault", [*FAULTS, "contend"])
def test_200_submits_make_exactly_200_jobs(
    namespace: Namespace, access: Any, sample: Callable[[str], Any], fault: str
) -> None:
    with faulty_proxy(access.url, access.ca, fault, SHARE, failure=FAILURE) as proxy:
        driver = namespace.driver(server=proxy.url, pools=POOLS)
        first = analysis(namespace.config(pools=POOLS), sample, "run", pool="queued")
        jobs = [msgspec.structs.replace(first, name=f"analysis-s0-run-{number}") for number in range(SUBMITS)]
        with ThreadPoolExecutor(16) as callers:
            durations = list(callers.map(lambda job: _until_accepted(driver, job), jobs))

    assert proxy.injected[fault] > SUBMITS * SHARE / 2, "the proxy injected too few faults for a result"
    assert max(durations) < DEADLINE + 2, f"a submit took {max(durations):.1f} s"
    made = {job["metadata"]["name"]: job["metadata"] for job in namespace.objects("jobs")}
    assert sorted(made) == sorted(job.name for job in jobs)
    owners = [secret["metadata"]["ownerReferences"][0]["uid"] for secret in namespace.objects("secrets")]
    assert sorted(owners) == sorted(job["uid"] for job in made.values())


def _until_accepted(driver: KubernetesDriver, job: JobSpec) -> float:
    """Repeat the submit, as atlas does. Returns the duration of the longest call, in seconds."""
    longest = 0.0
    for _ in range(40):
        began = time.monotonic()
        try:
            driver.submit(job, within(DEADLINE))
        except (Unavailable, Timeout, Busy):
            longest = max(longest, time.monotonic() - began)
        else:
            return max(longest, time.monotonic() - began)
    raise AssertionError(f"{job.name} was never accepted")


def test_throttling_is_busy_with_the_retry_after_of_the_api_server(
    namespace: Namespace, access: Any, sample: Callable[[str], Any]
) -> None:
    job = analysis(namespace.config(), sample, "throttled")
    with faulty_proxy(access.url, access.ca, "throttle", 1.0, failure=FAILURE) as proxy:
        driver = namespace.driver(server=proxy.url)
        with pytest.raises(Busy) as caught:
            driver.submit(job, within(5))

    assert caught.value.retry_after == 1


def test_an_api_server_that_only_fails_is_unavailable_within_the_deadline(
    namespace: Namespace, access: Any, sample: Callable[[str], Any]
) -> None:
    with faulty_proxy(access.url, access.ca, "fail-before", 1.0, failure=FAILURE, reads_too=True) as proxy:
        driver = namespace.driver(server=proxy.url)
        began = time.monotonic()
        with pytest.raises(Unavailable, match="leader changed"):
            driver.submit(analysis(namespace.config(), sample, "failing"), within(2))
        assert time.monotonic() - began < 4


def test_a_refused_connection_is_unavailable_at_once(namespace: Namespace, sample: Callable[[str], Any]) -> None:
    driver = namespace.driver(server="http://127.0.0.1:1")
    with pytest.raises(Unavailable, match="cannot be reached"):
        driver.submit(analysis(namespace.config(), sample, "nobody"), within(5))


def test_an_untrusted_certificate_is_unavailable(namespace: Namespace, sample: Callable[[str], Any]) -> None:
    """TLS is verified: the kubeconfig names no CA, and the system's CAs did not issue the server's certificate."""
    import yaml

    path = namespace.kubeconfig()
    document = yaml.safe_load(path.read_text())
    del document["clusters"][0]["cluster"]["certificate-authority"]  # the system's CAs
    path.write_text(yaml.safe_dump(document))
    config = namespace.make_config(
        driver="kubernetes", kubernetes={"namespace": namespace.name, "kubeconfig": str(path)}
    )
    with pytest.raises(Unavailable, match="TLS"):
        composition.kubernetes(config, lambda _: {}, composition.system()).check()
