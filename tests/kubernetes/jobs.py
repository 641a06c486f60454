"""Jobs to submit: the planned sample analysis, and small jobs that run a line of shell."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import msgspec

from runner.commands import plan
from runner.config.types import Config
from runner.drivers.driver import Driver
from runner.jobs import Container, JobSpec, Resources, Text
from runner.observation import Observation
from runner.payloads import RequestPolicy, decode
from runner.payloads.analysis_run import AnalysisRun
from tests.harness import rounds

SMALL = Resources(cpu=50, memory=32)


def analysis(config: Config, sample: Callable[[str], dict[str, object]], run_id: str, pool: str = "") -> JobSpec:
    """The job of the sample analysis."""
    document = {**sample("analysis"), "run_id": run_id, "_meta": {"resource_pool": pool or config.default_pool}}
    request = decode(json.dumps(document).encode(), AnalysisRun, RequestPolicy(runner_id="", public_key=""))
    (job,) = plan(request, config)
    assert isinstance(job, JobSpec)
    return job


def shell(job: JobSpec, image: str, script: str, *arguments: Text, env: tuple[tuple[str, Text], ...] = ()) -> JobSpec:
    """`job` with a line of shell as its only container."""
    main = Container(
        name="main",
        image=image,
        command=("/bin/sh", "-c", script, "main"),
        args=arguments,
        env=env,
        requests=SMALL,
        limits=SMALL,
    )
    return msgspec.structs.replace(job, init=None, main=main)


def until(condition: Callable[[], object], seconds: float = 60, what: str = "") -> None:
    """Wait until the condition is true. Fails after `seconds`; `what` names the condition in the failure."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what or condition}"
        time.sleep(0.2)


def seen(driver: Driver, name: str) -> Observation:
    return next(each for each in _observed(driver) if each.name == name)


def _observed(driver: Driver) -> Iterator[Observation]:
    yield from rounds.observed(driver)
