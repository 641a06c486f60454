"""Rules of the sections that say where jobs run: what a cluster would refuse each job for.

Parts that could not be read are None here; they have been reported already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from runner.config import names
from runner.config.drivers import PoolSettings, Toleration
from runner.config.types import Config
from runner.errors import Problem


def problems(config: Config) -> Iterator[Problem]:
    """What Kubernetes would refuse each job for, and the names of which no type knows the driver."""
    if config.kubernetes is not None:
        yield from _selector_problems("/kubernetes/nodeSelector", config.kubernetes.node_selector)
    for name, pool in (config.pools or {}).items():
        if pool is None or pool.tolerations is None:
            continue
        yield from _selector_problems(f"/pools/{name}/nodeSelector", pool.node_selector)
        kubernetes = config.default_driver == "kubernetes" if pool.driver is None else pool.driver == "kubernetes"
        if kubernetes and pool.namespace and not names.KUBERNETES_NAMESPACE.fullmatch(pool.namespace):
            yield Problem(
                f"/pools/{name}/namespace", "must be a namespace: at most 63 lower-case letters, digits and '-'"
            )
        for index, toleration in enumerate(pool.tolerations):
            if toleration not in (None, Toleration()) and (message := _toleration_objection(toleration)):
                yield Problem(f"/pools/{name}/tolerations/{index}", message)


def _selector_problems(at: str, selector: dict[str, str] | None) -> Iterator[Problem]:
    for key, value in (selector or {}).items():
        if not names.LABEL_KEY.fullmatch(key):
            yield Problem(
                at, f"has a key that is no label's: {key!r}; a label is a name after an optional domain and /"
            )
        if value is not None and not names.LABEL_VALUE.fullmatch(value):
            yield Problem(
                f"{at}/{_escape(key)}", "must be a label's value: at most 63 letters, digits, '-', '_' and '.'"
            )


_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")


def _toleration_objection(toleration: Toleration) -> str:
    """See the API reference of Kubernetes, Toleration v1 core."""
    if not toleration.key and toleration.operator != "Exists":
        return "must have a key, or the operator Exists"
    if toleration.operator == "Exists" and toleration.value:
        return "must have no value with the operator Exists"
    if toleration.toleration_seconds is not None and toleration.effect != "NoExecute":
        return "must have the effect NoExecute where it has tolerationSeconds"
    if toleration.key and not names.LABEL_KEY.fullmatch(toleration.key):
        return "must have a taint's key: a name after an optional domain and /"
    if toleration.operator in ("Lt", "Gt") and not _INTEGER.fullmatch(toleration.value):
        return "must have a whole number as value with the operators Lt and Gt"
    if toleration.operator in ("", "Equal") and not names.LABEL_VALUE.fullmatch(toleration.value):
        return "must have a taint's value: at most 63 letters, digits, '-', '_' and '.'"
    return ""


_ONLY_KUBERNETES = {
    "nodeSelector": "node_selector",
    "tolerations": "tolerations",
    "priorityClassName": "priority_class_name",
    "queueName": "queue_name",
}
_ONLY_NOMAD = {
    "nodePool": "node_pool",
    "datacenters": "datacenters",
    "priority": "priority",
    "constraints": "constraints",
}


def without_effect(config: Config) -> Iterator[str]:
    """A sentence for each key of a pool that its driver does not read. A printer may print for both clusters."""
    for name, pool in config.pools.items():
        driver = config.driver_of(name)
        unread = {"kubernetes": _ONLY_NOMAD, "nomad": _ONLY_KUBERNETES, "local": _ONLY_KUBERNETES | _ONLY_NOMAD}
        if given := [key for key, field in unread.get(driver, {}).items() if _is_given(pool, field)]:
            yield f"of the pool {name}: {', '.join(given)} has no effect with the driver {driver}"


def _is_given(pool: PoolSettings, field: str) -> bool:
    return bool(getattr(pool, field))


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
