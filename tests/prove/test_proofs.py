"""The proofs at a small size, with a fixed seed: every reason on both engines, and one of each other kind.

`make prove` runs them at their full size, and really restarts the API server. A proof mostly waits, so a few run at
once.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests import cluster
from tests.conftest import ROOT
from tests.prove.__main__ import SCENARIOS
from tests.prove.stage import Proof, Settings

ENDS = {
    "reasons-kubernetes": 0,
    "reasons-nomad": 0,
    "kills": 100,
    "rollouts-chart": 60,
    "rollouts": 200,
    "api-faults": 80,
    "atlas-outage": 100,
    "api-faults-nomad": 30,
    "cancels-kubernetes": 40,
    "cancels-nomad": 40,
    "replicas": 100,
}
"""The slowest first. 0 where the scenario itself decides."""

AT_ONCE = 3
SEED = 1
OUTAGE_MINUTES = 0.4

Proofs = dict[str, Future[Proof]]


@pytest.fixture(scope="module")
def proofs(real_servers: cluster.Cluster, request: pytest.FixtureRequest) -> Iterator[Proofs]:
    """The proofs that are to be tested, AT_ONCE of them running."""
    items = [each for each in request.session.items if isinstance(each, pytest.Function) and each.obj is test_proof]
    chosen = [each.callspec.params["name"] for each in items]
    settings = {
        name: Settings(cluster=real_servers, code=ROOT, ends=ends, seed=SEED, minutes=OUTAGE_MINUTES)
        for name, ends in ENDS.items()
        if name in chosen
    }
    threads = ThreadPoolExecutor(AT_ONCE)
    try:
        yield {name: threads.submit(SCENARIOS[name][0], each) for name, each in settings.items()}
    finally:
        threads.shutdown(cancel_futures=True)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", ENDS)
def test_proof(name: str, proofs: Proofs) -> None:
    proof = proofs[name].result()
    assert proof.right, proof.shown(name)


def test_every_scenario_is_among_them() -> None:
    assert set(ENDS) == set(SCENARIOS)
