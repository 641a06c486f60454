"""300 seeds of each world, each the history of a few jobs with the faults, crashes and clients that it draws."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.simulation.scenario import ENGINES

SEEDS = 300

SECONDS = 600
"""Far more than it takes on two busy cores."""

pytestmark = pytest.mark.timeout(SECONDS + 60)


def simulation(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m tests.simulation`, in a process of its own: a run depends on its seed and on nothing else."""
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_every_promise_holds_whatever_the_seed_does(engine: str) -> None:
    done = simulation("--engine", engine, "--seeds", str(SEEDS))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize(
    ("engine", "seed", "what"),
    [
        ("kubernetes", 309, "a stale list does not contradict an outcome that is stored"),
        ("kubernetes", 100496, "a job whose pod was replaced since it was judged is judged anew"),
        ("kubernetes", 106396, "a failed job whose pod is missing was deleted if it is gone as well"),
        ("kubernetes", 106761, "a job whose pod was made since it was judged is judged anew"),
        ("kubernetes", 106952, "a job that its queue has released is not ended as held"),
        ("kubernetes", 107465, "the time in a queue is not counted, although the Job controller noted it too late"),
        ("kubernetes", 113371, "a request that was long on its way ends no job that has run by then"),
        ("kubernetes", 115725, "an error of a registry that was seen while events were read may still pass"),
        ("kubernetes", 100596, "a confirmation that is sent again says the same, whatever was seen between"),
        ("kubernetes", 211228, "a job whose end its driver refused waits anew, perhaps after a run that nobody saw"),
        ("kubernetes", 5665, "a pod that was deleted while nobody saw it may have got its Secret before"),
        ("nomad", 308, "a job whose Variable a repeat took over is one job"),
        ("nomad", 160, "a confirmation that is sent again says the same, also of an end that the cancel had missed"),
        ("nomad", 245, "a resend is seen of a name that never had a job"),
        ("nomad", 2538, "a job and its Variable have one nonce once its end is stored"),
        (
            "nomad",
            11248,
            "a repeat corrects the nonce that another one could not correct, before Nomad removes the job",
        ),
        ("nomad", 16151, "a job that Nomad removed while its allocations were read did not fail"),
        ("both", 0, "a half-made submit is completed by a request that leads to the other engine"),
        ("both", 19, "a claim whose request died before it made a job does not end the job that runs"),
        ("both", 37, "a name that a repeat took elsewhere is not reported as deleted"),
        ("both", 93, "a job that Nomad removed while it was silent is reported"),
        ("both", 115, "a new claim without a job looks elsewhere before it is reported"),
        ("both", 32, "a claim whose request may be about to make its job is not settled yet"),
        ("both", 5595, "a run that was quicker than the end of its wait is not reported as ended when it is asked for"),
    ],
)
def test_a_fault_that_a_seed_has_found_stays_repaired(engine: str, seed: int, what: str) -> None:
    done = simulation("--engine", engine, "--seeds", "1", "--from", str(seed))
    assert done.returncode == 0, f"{what}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", [1, 7])
def test_a_seed_replays_exactly(engine: str, seed: int) -> None:
    first, second = (simulation("--engine", engine, "--replay", str(seed), "-v") for _ in range(2))
    assert len(first.stdout.splitlines()) > 1000, first.stderr
    assert first.stdout == second.stdout
