"""One name over two namespaces of a real Nomad: of two submits at once, exactly one gets to run.

`RACES=100` makes more races than the usual 40.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import msgspec
import pytest

from runner import composition
from runner.config.types import Config
from runner.drivers.nomad.driver import NomadDriver
from runner.drivers.nomad.variable import CLAIM, OPEN, PREFIX
from runner.errors import OrchestratorError
from runner.jobs import JobSpec
from tests import cluster
from tests.conformance.jobs import SecretResolver, job
from tests.harness.deadlines import within
from tests.nomad.access import POLICY, Nomad

RACES = int(os.environ.get("RACES", "40"))
AT_ONCE = 4


@pytest.fixture
def other(access: cluster.NomadAccess, tmp_path: Path) -> Iterator[Nomad]:
    """A second namespace."""
    made = Nomad(access, tmp_path)
    yield made
    made.close()


@pytest.fixture
def make(nomad: Nomad, other: Nomad, make_config: Callable[..., Config]) -> Callable[[], NomadDriver]:
    """A driver for both namespaces, with one token. No node runs its jobs: that is not what is tried."""
    policy = POLICY.read_text()
    rules = "".join(policy.replace('namespace "default"', f'namespace "{each.namespace}"') for each in (nomad, other))
    nomad.put(f"acl/policy/{nomad.namespace}", {"Name": nomad.namespace, "Rules": rules})
    nowhere: Any = {"datacenters": ["none"]}
    pools = {"a": {"namespace": nomad.namespace, **nowhere}, "b": {"namespace": other.namespace, **nowhere}}
    made = msgspec.structs.replace(nomad.config(make_config, pools=pools), default_pool="a")
    return lambda: composition.nomad(made, SecretResolver(), composition.system())  # type: ignore[return-value]


def task(name: str, pool: str) -> JobSpec:
    return msgspec.structs.replace(job("shell", name=name), pool=pool)


def answered(driver: NomadDriver, wanted: JobSpec, start: Barrier) -> str:
    start.wait(30)
    try:
        return driver.submit(wanted, within(30))
    except OrchestratorError as error:
        return error.code


def test_of_two_submits_at_once_into_two_namespaces_one_is_released(
    nomad: Nomad, other: Nomad, make: Callable[[], NomadDriver]
) -> None:
    drivers = {"a": make(), "b": make()}
    for pool, driver in drivers.items():
        driver.submit(task(f"warm-up-{pool}", pool), within(30))
    order = random.Random(12)

    def race(number: int) -> tuple[str, ...]:
        start, pools = Barrier(2), order.sample(["a", "b"], 2)
        with ThreadPoolExecutor(2) as pair:
            tries = [pair.submit(answered, drivers[pool], task(f"race-{number}", pool), start) for pool in pools]
            return tuple(sorted(each.result() for each in tries))

    with ThreadPoolExecutor(AT_ONCE) as races:
        answers = Counter(races.map(race, range(RACES)))

    assert answers.keys() <= {("created", "exists"), ("created", "unavailable"), ("exists", "unavailable")}, answers
    for number in range(RACES):
        name = f"race-{number}"
        found = {each.namespace: _items(each, name) for each in (nomad, other)}
        (winner,) = [where for where, items in found.items() if OPEN in items]
        assert found[winner][CLAIM] == "admitted"
        assert {items[CLAIM] for where, items in found.items() if where != winner and items} <= {"yielded"}
        registered = [each.namespace for each in (nomad, other) if any(job["ID"] == name for job in each.get("jobs"))]
        assert registered == [winner]
    print(answers)


def _items(place: Nomad, name: str) -> dict[str, str]:
    path = f"{PREFIX}{name}"
    if not any(each["Path"] == path for each in place.get("vars", prefix=path)):
        return {}
    items: dict[str, str] = place.get(f"var/{path}")["Items"]
    return items
