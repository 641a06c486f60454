"""list changes nothing, whatever state a crash has left; reconcile acts on it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.drivers.driver import Retention
from tests.conformance import jobs
from tests.harness.clock import ManualClock
from tests.harness.deadlines import within
from tests.harness.snapshots import snapshot
from tests.unit.drivers.local.test_driver import ENDLESS, Host, eventually, hosts, processes


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    with hosts(tmp_path / "jobs") as make:
        yield make


@pytest.fixture
def host(make_host: Callable[..., Host]) -> Host:
    return make_host(parallelism=1)


def waiting(host: Host) -> str:
    """A job that waits without a shim: its submitter died before it could start one."""
    without = host.make_driver(python="/nonexistent/python")
    job = jobs.job("shell", "true")
    assert without.submit(job, within(5)) == "created"
    return job.name


def crashed(host: Host) -> str:
    """A job whose shim was killed while it ran."""
    name = host.submit(f"echo begun; {ENDLESS}")
    host.await_log(name, "begun")
    os.kill(host.shim_of(name), signal.SIGKILL)
    eventually(lambda: host.is_free(name))
    eventually(lambda: not processes(str(host.directory)))
    return name


def listed(host: Host, name: str, **changes: object) -> str:
    """The job's phase after three listings, which must change no file and start no process."""
    driver = host.make_driver(**changes)
    before = snapshot(host.directory), processes(str(host.directory))
    for _ in range(3):
        (seen,) = [each for each in driver.list() if each.name == name]
    assert (snapshot(host.directory), processes(str(host.directory))) == before
    return seen.phase


def due(host: Host, name: str) -> tuple[str, str] | None:
    """What reconcile would do with the job, and why. Asking must change no file and start no process."""
    before = snapshot(host.directory), processes(str(host.directory))
    found = [(each.action, each.why) for each in host.driver.due(Retention(86400, 86400)) if each.name == name]
    assert (snapshot(host.directory), processes(str(host.directory))) == before
    return found[0] if found else None


def test_a_job_without_a_shim_waits_until_reconcile_starts_it(host: Host) -> None:
    name = waiting(host)
    assert listed(host, name) == "waiting"
    assert due(host, name) == ("start", "it waits: a shim is started for it if a slot is free")
    host.driver.reconcile()
    assert host.reason(name) == "succeeded"


def test_a_job_whose_shim_died_is_listed_as_running_until_reconcile_ends_it(host: Host) -> None:
    name = crashed(host)
    assert listed(host, name) == "running"
    assert due(host, name) == ("end", "the process that ran it was killed, or the host went down")
    host.driver.reconcile()
    assert due(host, name) is None
    assert listed(host, name) == "failed"
    assert host.reason(name) == "disrupted"


def test_a_job_that_waited_too_long_is_ended_by_reconcile_only(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    name = waiting(host)
    monkeypatch.setattr("runner.drivers.local.files.waited_too_long", lambda _: True)
    assert listed(host, name) == "waiting"
    host.make_driver(python="/nonexistent/python").reconcile()
    assert listed(host, name) == "failed"
    assert host.reason(name) == "unschedulable"


def test_an_old_job_is_listed_until_reconcile_removes_it(host: Host) -> None:
    name = host.submit("true")
    host.over(name)
    eventually(lambda: not processes(str(host.directory)))
    later = ManualClock(time.time() + 1000)
    assert listed(host, name, clock=later) == "succeeded"
    driver = host.make_driver(clock=later)
    assert driver.reconcile() == 0
    assert driver.reconcile(Retention(reported=10, orphaned=2000)) == 0
    assert driver.reconcile(Retention(reported=10, orphaned=10)) == 1
    assert list(driver.list()) == []


def test_a_missing_directory_is_not_created(host: Host) -> None:
    driver = host.make_driver()
    assert list(driver.list()) == []
    assert driver.reconcile(Retention(reported=0, orphaned=0)) == 0
    assert not host.directory.exists()


def test_a_key_that_begins_before_the_lines_asked_for_is_masked(host: Host) -> None:
    body = [f"{number:02}" + "aB3+" * 15 for number in range(60)]
    name = host.submit("echo begun")
    host.over(name)
    lines = ["-----BEGIN PRIVATE KEY-----", *body, *(f"line {number}" for number in range(5))]
    (host.directory / name / "main.log").write_text("".join(f"{line}\n" for line in lines))

    for shown in (1, 6, 7, 60, 200):
        assert "aB3+" not in host.driver.logs(name, lines=shown)
