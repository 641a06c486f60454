"""The Kubernetes driver against responses that a real API server never gives, or gives only at certain moments."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from runner.config.types import Config
from runner.drivers.kubernetes.api import ApiServerResponse
from runner.drivers.kubernetes.driver import KubernetesDriver
from runner.drivers.kubernetes.manifest import FINGERPRINT
from runner.errors import OrchestratorError
from runner.observation import Observation
from runner.runtime.clock import Deadline
from tests.harness.clock import ManualClock


class Api:
    """Responds from a table by namespace and kind. An integer instead of a list is an error status."""

    clock_ahead = 0.0

    def __init__(self, **listed: dict[str, Any]) -> None:
        self.listed = listed
        self.asked: list[str] = []

    def call(self, method: str, path: str, deadline: Deadline, **_: Any) -> ApiServerResponse:
        namespace, kind = path.split("/")[-2:]
        self.asked.append(f"{namespace} {kind}")
        items = self.listed[namespace].get(kind, [])
        if isinstance(items, int):
            return ApiServerResponse(items, b"default backend - 404")
        return ApiServerResponse(200, json.dumps({"items": items}).encode())


def job(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "annotations": {FINGERPRINT: "f"}}}


@pytest.fixture
def listing(make_config: Callable[..., Config]) -> Callable[[Api], tuple[list[str], str]]:
    """The names that a driver with two namespaces lists, and the text of its error."""

    def listed(api: Api) -> tuple[list[str], str]:
        config = make_config(
            driver="kubernetes", kubernetes={"namespace": "one"}, pools={"other": {"namespace": "two"}}
        )
        driver = KubernetesDriver(
            config,
            resolve_secrets=lambda _: {},
            api=api,  # type: ignore[arg-type]
            clock=ManualClock(),
            random=Random(0),
        )
        seen: list[Observation] = []
        try:
            seen.extend(driver.list())
        except OrchestratorError as error:
            return [each.name for each in seen], error.detail
        return [each.name for each in seen], ""

    return listed


def test_a_404_for_the_list_of_jobs_is_an_error(listing: Callable[[Api], tuple[list[str], str]]) -> None:
    """Otherwise all jobs would count as deleted. A real API server returns an empty list even for no namespace."""
    seen, said = listing(Api(one={"jobs": 404}, two={"jobs": [job("b")]}))
    assert seen == ["b"]
    assert "no jobs in one" in said
    assert "check the address in the kubeconfig" in said


@pytest.mark.parametrize("kind", ["jobs", "pods"])
def test_an_error_in_one_namespace_does_not_hide_the_others(
    listing: Callable[[Api], tuple[list[str], str]], kind: str
) -> None:
    seen, said = listing(Api(one={"jobs": [job("a")], kind: 403}, two={"jobs": [job("b")]}))
    assert seen == ["b"]
    assert f"not allowed to list {kind} in namespace one" in said


def test_jobs_are_listed_before_pods(listing: Callable[[Api], tuple[list[str], str]]) -> None:
    """A Job ends after its pod. In this order a failed Job has its pod's final state, with the reason."""
    api = Api(one={"jobs": [job("a")]}, two={})
    listing(api)
    assert api.asked == ["one jobs", "one pods", "two jobs", "two pods"]
