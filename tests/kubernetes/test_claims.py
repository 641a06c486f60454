"""One name over two namespaces of a real API server: of two submits at once, exactly one gets to run.

`RACES=200` makes as many races as the protocol was tried with.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from runner.config.types import Config
from runner.drivers.claims import ADMITTED, NEW, YIELDED
from runner.drivers.kubernetes.driver import KubernetesDriver
from runner.drivers.kubernetes.manifest import CLAIM, FINGERPRINT, SECRET
from runner.errors import OrchestratorError
from runner.jobs import JobSpec
from tests.conformance.jobs import cancellation
from tests.harness.deadlines import within
from tests.kubernetes.jobs import analysis, until
from tests.kubernetes.namespaces import Namespace

RACES = int(os.environ.get("RACES", "40"))
AT_ONCE = 4

Object = dict[str, Any]


@pytest.fixture
def two(namespace: Namespace, other_namespace: Namespace) -> dict[str, Namespace]:
    """The namespaces of the pools `a` and `b`, for one account. No pod is made in them: that is not what is tried."""
    subject = {"kind": "ServiceAccount", "name": "orchestrator", "namespace": namespace.name}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "orchestrator"}
    binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "elsewhere"}}
    other_namespace.apply({**binding, "roleRef": role, "subjects": [subject]})
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    for each in (namespace, other_namespace):
        each.apply(quota)
    return {"a": namespace, "b": other_namespace}


@pytest.fixture
def config(two: dict[str, Namespace]) -> Config:
    return two["a"].config(**_pools(two))


@pytest.fixture
def make_driver(two: dict[str, Namespace]) -> Callable[[], KubernetesDriver]:
    return lambda: two["a"].driver(**_pools(two))


@pytest.fixture
def job(config: Config, sample: Callable[[str], Object]) -> Callable[[str, str], JobSpec]:
    """The same task, for a pool."""
    return lambda run_id, pool: analysis(config, sample, run_id, pool=pool)


def _pools(two: dict[str, Namespace]) -> Object:
    return {"pools": {name: {"namespace": each.name} for name, each in two.items()}, "defaultPool": "a"}


def standing(two: dict[str, Namespace], name: str) -> list[Object]:
    """The Jobs of that name, each with whether it has its Secret."""
    return [each for each in everything(two) if each["name"] == name]


def everything(two: dict[str, Namespace]) -> list[Object]:
    found = []
    for pool, namespace in two.items():
        secrets = {each["metadata"]["name"] for each in namespace.objects("secrets")}
        for each in namespace.objects("jobs"):
            notes = each["metadata"]["annotations"]
            released = notes.get(SECRET) in secrets
            found.append(
                {"name": each["metadata"]["name"], "pool": pool, "claim": notes.get(CLAIM), "released": released}
            )
    return found


def answered(driver: KubernetesDriver, job: JobSpec, start: Barrier | None = None) -> str:
    if start:
        start.wait(30)
    try:
        return driver.submit(job, within(30))
    except OrchestratorError as error:
        return error.code


def test_of_two_submits_at_once_into_two_namespaces_one_is_released(
    two: dict[str, Namespace], make_driver: Callable[[], KubernetesDriver], job: Callable[[str, str], JobSpec]
) -> None:
    drivers = {pool: make_driver() for pool in two}
    for pool, driver in drivers.items():
        driver.submit(job("warm-up", pool), within(30))  # credentials and connections
    order = random.Random(12)

    def race(number: int) -> tuple[str, str]:
        start, pools = Barrier(2), order.sample(["a", "b"], 2)
        with ThreadPoolExecutor(2) as pair:
            tries = [pair.submit(answered, drivers[pool], job(f"race-{number}", pool), start) for pool in pools]
            return tries[0].result(), tries[1].result()

    with ThreadPoolExecutor(AT_ONCE) as races:
        answers = list(races.map(race, range(RACES)))

    assert set(map(tuple, map(sorted, answers))) <= {
        ("created", "exists"),
        ("created", "unavailable"),
        ("exists", "unavailable"),
    }, Counter(map(tuple, map(sorted, answers)))
    found = everything(two)
    for number in range(RACES):
        ours = [each for each in found if each["name"] == job(f"race-{number}", "a").name]
        (winner,) = [each for each in ours if each["claim"] == ADMITTED]
        assert winner["released"]
        assert all(each["claim"] == YIELDED and not each["released"] for each in ours if each is not winner), ours
    repeated = {answered(drivers[pool], job("race-0", pool)) for pool in two}
    assert repeated == {"exists"}
    print(Counter(map(tuple, map(sorted, answers))), Counter(each["claim"] for each in found))


def test_a_repeat_with_another_pool_finds_the_job(
    two: dict[str, Namespace], make_driver: Callable[[], KubernetesDriver], job: Callable[[str, str], JobSpec]
) -> None:
    driver = make_driver()
    assert driver.submit(job("repeated", "a"), within(30)) == "created"
    assert make_driver().submit(job("repeated", "b"), within(30)) == "exists"
    assert standing(two, job("repeated", "a").name) == [
        {"name": job("repeated", "a").name, "pool": "a", "claim": ADMITTED, "released": True}
    ]
    assert driver.cancel(cancellation(job("repeated", "a").name), within(30), tombstone=False) == "cancelled"
    assert driver.submit(job("repeated", "b"), within(30)) == "cancelled"


def test_a_yielded_job_ends_without_a_pod_is_listed_by_nobody_and_expires(
    two: dict[str, Namespace], make_driver: Callable[[], KubernetesDriver], job: Callable[[str, str], JobSpec]
) -> None:
    two["a"].kubectl("delete", "resourcequota", "none")
    driver, wanted = make_driver(), job("yielded", "a")
    place = driver.places()[0]
    manifest = json_of(two["a"], driver, wanted)
    two["a"].kubectl("create", "-f", "-", stdin=manifest)
    (mine,) = filter(None, [place.standing(wanted.name, within(30))])
    assert mine.claim == NEW
    assert place.move(mine, YIELDED, within(30))
    assert not place.move(mine, YIELDED, within(30))

    def conditions() -> list[str]:
        (found,) = two["a"].objects("jobs")
        return [each["type"] for each in found["status"].get("conditions", []) if each["status"] == "True"]

    until(lambda: "Failed" in conditions(), seconds=20, what="the end of the yielded Job")
    assert not two["a"].objects("pods")
    assert list(driver.list()) == []
    (found,) = two["a"].objects("jobs")
    assert found["spec"]["ttlSecondsAfterFinished"] == 60
    assert found["metadata"]["annotations"][FINGERPRINT] == wanted.fingerprint


def json_of(namespace: Namespace, driver: KubernetesDriver, wanted: JobSpec) -> str:
    """The Job as a submit that died after it had taken the name."""
    import msgspec

    from runner.drivers.kubernetes.manifest import job_manifest

    return msgspec.json.encode(job_manifest(wanted, driver._config, nonce="0a1b2c3d", claim=NEW)).decode()
