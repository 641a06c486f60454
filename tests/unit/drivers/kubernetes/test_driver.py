"""The Kubernetes driver, where it takes an API server that a real one is not, or is at one moment only."""

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
from tests.clock import ManualClock


class Api:
    """Answers from a table of namespace and kind; a status alone stands for a refusal."""

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
    """The names that a driver of two namespaces lists, and its error."""

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


def test_whatever_has_no_jobs_at_all_is_no_api_server(listing: Callable[[Api], tuple[list[str], str]]) -> None:
    """Or all of them would be taken for deleted. A real one lists nothing even where there is no such namespace."""
    seen, said = listing(Api(one={"jobs": 404}, two={"jobs": [job("b")]}))
    assert seen == ["b"]
    assert "no jobs in one" in said


@pytest.mark.parametrize("kind", ["jobs", "pods"])
def test_a_namespace_that_cannot_be_seen_does_not_hide_the_others(
    listing: Callable[[Api], tuple[list[str], str]], kind: str
) -> None:
    seen, said = listing(Api(one={"jobs": [job("a")], kind: 403}, two={"jobs": [job("b")]}))
    assert seen == ["b"]
    assert f"not allowed to list {kind} in namespace one" in said


def test_a_job_is_never_shown_with_what_its_pod_was_before(listing: Callable[[Api], tuple[list[str], str]]) -> None:
    """A Job ends after its pod: seen in this order, one that has failed has a pod that says why."""
    api = Api(one={"jobs": [job("a")]}, two={})
    listing(api)
    assert api.asked == ["one jobs", "one pods", "two jobs", "two pods"]
