"""Whose turn it is on this host: the oldest first, no more at once than allowed, and nobody forgotten."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.drivers import Deadline
from tests.conformance import jobs
from tests.unit.test_local import ENDLESS, Host, arguments, eventually, hosts, parent


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    with hosts(tmp_path / "jobs") as make:
        yield make


@pytest.fixture
def host(make_host: Callable[..., Host]) -> Host:
    return make_host()


def test_the_oldest_job_comes_first(make_host: Callable[..., Host], tmp_path: Path) -> None:
    host = make_host(parallelism=1)
    blocker = host.submit('read line < "$CODE_PATH/../go"', init='mkfifo "$ORCHESTRATOR_ROOT/go"')
    order = tmp_path / "order"
    names = [host.submit(f'echo {number} >> "{order}"', name=f"job-{9 - number}") for number in range(8)]
    eventually(host.file(blocker, "root", "go").exists)
    host.file(blocker, "root", "go").write_text("on\n")
    for name in names:
        host.ended(name)
    assert order.read_text().split() == [str(number) for number in range(8)]


def test_no_more_run_at_once_than_allowed_and_all_that_is_allowed(
    make_host: Callable[..., Host], tmp_path: Path
) -> None:
    host, diary = make_host(parallelism=3), tmp_path / "diary"
    for _ in range(20):
        host.submit(f'echo + >> "{diary}"; sleep 0.05; echo - >> "{diary}"')
    for seen in host.driver.observe():
        host.ended(seen.name)
    assert most_at_once(diary) == 3


def test_the_last_job_to_end_takes_the_last_process_with_it(host: Host) -> None:
    for name in [host.submit("sleep 0.05") for _ in range(4)]:
        host.ended(name)
    eventually(lambda: not host.shims())
    assert {seen.phase for seen in host.driver.observe()} == {"succeeded"}


def test_a_job_whose_shim_never_came_is_started_by_the_next_look(host: Host) -> None:
    job = jobs.job("shell", "true")
    without = host.make_driver(python="/bin/false")
    assert without.submit(job, Deadline.after(15)) == "created"
    assert {seen.phase for seen in without.observe()} == {"waiting"}
    assert host.reason(job.name) == "succeeded"


def test_a_job_whose_shim_never_came_is_started_by_its_repeat(host: Host) -> None:
    job = jobs.job("shell", "true")
    host.make_driver(python="/bin/false").submit(job, Deadline.after(15))
    assert host.state(job) == "exists"
    eventually(host.file(job.name, "end.json").exists)


def test_a_job_whose_shim_never_came_is_started_by_another_job_s(host: Host) -> None:
    job = jobs.job("shell", "true")
    host.make_driver(python="/bin/false").submit(job, Deadline.after(15))
    host.submit("true")
    eventually(host.file(job.name, "end.json").exists)


def test_a_queue_that_was_lost_is_made_again(make_host: Callable[..., Host]) -> None:
    host = make_host(parallelism=1)
    blocker, name = host.submit(ENDLESS), host.submit("true")
    for entry in (host.directory / ".queue").iterdir():
        entry.unlink()
    host.cancel(blocker)
    assert host.reason(name) == "succeeded"


def test_our_own_process_is_left_without_children(host: Host) -> None:
    for _ in range(3):
        host.submit("true")
    children = [int(path.name) for path in Path("/proc").glob("[0-9]*") if parent(int(path.name)) == os.getpid()]
    assert [child for child in children if "local_shim" in arguments(child) or is_zombie(child)] == []


def most_at_once(diary: Path) -> int:
    """From a file with a `+` for each beginning and a `-` for each end, in their order."""
    running = most = 0
    for mark in diary.read_text().split():
        running += 1 if mark == "+" else -1
        most = max(most, running)
    return most


def is_zombie(process: int) -> bool:
    return arguments(process) == "" and Path(f"/proc/{process}").exists()
