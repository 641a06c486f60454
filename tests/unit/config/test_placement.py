"""runner.config.placement: keys that a pool's driver does not read are named; and what near misses are near to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runner.config.loading import parse
from runner.config.placement import without_effect
from runner.config.reading import read
from runner.config.types import Config
from runner.errors import Invalid, Malformed

EVERY = {
    "nodeSelector": {"a": "b"},
    "tolerations": [{"key": "a"}],
    "priorityClassName": "a",
    "queueName": "a",
    "nodePool": "a",
    "datacenters": ["a"],
    "priority": 7,
    "constraints": [{"attribute": "a"}],
}


def config(pool: dict[str, Any], driver: str = "local") -> Config:
    return read(json.dumps({"driver": driver, "pools": {"gold": pool}}).encode(), Config)


@pytest.mark.parametrize(
    ("driver", "unread"),
    [
        ("kubernetes", "nodePool, datacenters, priority, constraints"),
        ("nomad", "nodeSelector, tolerations, priorityClassName, queueName"),
    ],
)
def test_keys_of_another_driver_are_named(driver: str, unread: str) -> None:
    said = f"of the pool gold: {unread} has no effect with the driver {driver}"
    assert list(without_effect(config({**EVERY, "driver": driver}))) == [said]
    assert list(without_effect(config(EVERY, driver))) == [said]


def test_a_pool_of_this_host_reads_none_of_them_and_a_printer_may_read_all() -> None:
    (said,) = without_effect(config(EVERY))
    assert all(key in said for key in EVERY)
    assert list(without_effect(config({**EVERY, "driver": "printer"}))) == []
    assert list(without_effect(config({"driver": "nomad", "priority": 7, "namespace": "a"}))) == []


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("HTTP: {}", "'http'"),
        ("ssh_verify: {}", "'sshVerify'"),
        ("pools: {a: {NODEPOOL: b}}", "'nodePool'"),
        ("nomad: {CAFILE: b}", "'caFile'"),
    ],
)
def test_the_nearest_key_is_named_whatever_its_case(text: str, meant: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(text, {})
    assert f"did you mean {meant}?" in " ".join(problem.message for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ("priority: 101", "must be a number from 1 to 100"),
        ("driver: Nomad", "must be one of: local, kubernetes, nomad, printer, memory"),
        (f"tolerations: [{{key: a, effect: NoExecute, tolerationSeconds: {2**63}}}]", "must be seconds in 64 bits"),
    ],
)
def test_a_bound_of_an_optional_value_is_described(pool: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(f"pools: {{a: {{{pool}}}}}", {})
    assert message in [problem.message for problem in caught.value.problems]


def test_a_control_character_is_named_by_its_line() -> None:
    with pytest.raises(Malformed, match=r"has a control character \(line 2\); remove it"):
        parse("runner: {}\nhttp: \x01", {})
