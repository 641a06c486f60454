"""Lost and drained nodes, and Nomad's garbage collection, on a separate Nomad."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from runner import composition
from runner.config.types import Config
from runner.drivers.nomad.driver import NomadDriver
from runner.jobs import Deadlines, JobSpec
from tests.cluster import NomadAccess
from tests.conformance.jobs import Program, SecretResolver, job
from tests.harness.deadlines import within
from tests.nomad.private import PrivateNomad
from tests.nomad.seen import outcome, printed, until


@pytest.fixture
def private(access: NomadAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateNomad]:
    nomad = PrivateNomad(access, tmp_path_factory.mktemp("nomad"))
    try:
        nomad.start_server()
        nomad.start_client()
        yield nomad
    finally:
        nomad.close()


@pytest.fixture
def make_private_driver(private: PrivateNomad, make_config: Callable[..., Config]) -> Callable[[], NomadDriver]:
    config = make_config(driver="nomad", nomad={"address": private.url, "taskDriver": "raw_exec"})
    return lambda: composition.nomad(config, SecretResolver(), composition.system())


def _running(driver: NomadDriver, wanted: JobSpec) -> JobSpec:
    driver.submit(wanted, within(10))
    until(driver, wanted.name, lambda seen: seen.phase == "running")
    return wanted


def test_a_job_on_a_drained_node_is_disrupted(
    private: PrivateNomad, make_private_driver: Callable[[], NomadDriver]
) -> None:
    driver = make_private_driver()
    wanted = _running(driver, job("shell", Program(endless=True)))
    private.drain(private.nodes()[0]["ID"])
    assert outcome(driver, wanted.name).reason == "disrupted"


def test_a_job_whose_node_is_lost_waits_for_another_and_is_disrupted_at_its_deadline(
    private: PrivateNomad, make_private_driver: Callable[[], NomadDriver]
) -> None:
    driver = make_private_driver()
    wanted = _running(driver, job("shell", Program(endless=True), deadlines=Deadlines(queue=2, clone=1, run=9)))
    private.kill("client")
    until(driver, wanted.name, lambda seen: seen.phase == "waiting")
    assert outcome(driver, wanted.name).reason == "disrupted"


def test_a_client_that_is_restarted_loses_no_job(
    private: PrivateNomad, make_private_driver: Callable[[], NomadDriver]
) -> None:
    driver = make_private_driver()
    wanted = _running(driver, job("shell", "sleep 6; echo done"))
    private.kill("client")
    private.start_client()
    assert outcome(driver, wanted.name).reason == "succeeded"
    assert printed(driver, wanted.name) == "done\n"


def test_a_garbage_collected_job_is_still_reported_and_its_name_is_free_afterwards(
    private: PrivateNomad, make_private_driver: Callable[[], NomadDriver]
) -> None:
    driver, wanted = make_private_driver(), job("shell")
    driver.submit(wanted, within(10))
    outcome(driver, wanted.name)
    private.rest("/v1/system/gc", {})
    seen = until(driver, wanted.name, lambda seen: seen.phase == "gone")
    assert seen.report == wanted.report
    assert driver.mark_reported(seen, outcome(driver, wanted.name))
    assert driver.submit(wanted, within(10)) == "created"
