"""`jobs explain` and the requests to the clusters, on the real servers: what situations.py brings about."""

from __future__ import annotations

import re

import pytest

from tests import cluster
from tests.harness.processes import eventually
from tests.operate.situations import ENGINES, Up, missing

pytestmark = [pytest.mark.real_servers, pytest.mark.timeout(900)]

REQUESTS = {"kubernetes": {"POST": "201", "PATCH": "200"}, "nomad": {"POST": "200", "GET": "200"}}
"""What a job costs in any case: its creation and its mark, by verb with the code of the answer."""

_COUNT = re.compile(r"^orchestrator_driver_request_duration_seconds_count\{(.*)\} (\S+)$", re.M)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_an_operator_reads_and_what_is_measured(engine: str, real_servers: cluster.Cluster) -> None:
    with ENGINES[engine](real_servers) as (up, situations):
        before = measured(up, engine)
        found = {each: up.reached(each) for each in situations()}
        assert {each.title: missing(each, said) for each, said in found.items()} == {
            each.title: [] for each in found
        }, "\n\n".join(found.values())
        for verb, code in REQUESTS[engine].items():
            eventually(
                lambda key=(verb, code): measured(up, engine).get(key, 0) > before.get(key, 0),  # type: ignore[misc]
                f"{verb} with {code} is measured",
            )


def measured(up: Up, engine: str) -> dict[tuple[str, str], float]:
    """How many requests to this cluster were measured, by verb and code. No other cluster has any."""
    found = {}
    for labels, number in _COUNT.findall(up.metrics()):
        by_name = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        assert set(by_name) == {"driver", "verb", "code"}
        assert by_name["driver"] == engine
        found[by_name["verb"], by_name["code"]] = float(number)
    return found
