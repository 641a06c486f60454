"""The slots of a host: the oldest job first, at most `parallelism` at once, and no job left waiting."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.drivers.local import shims
from tests.conformance import jobs
from tests.harness.deadlines import within
from tests.harness.rounds import observed
from tests.unit.drivers.local.test_driver import ENDLESS, HELD, Host, eventually, hosts, parent


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    with hosts(tmp_path / "jobs") as make:
        yield make


@pytest.fixture
def host(make_host: Callable[..., Host]) -> Host:
    return make_host()


def test_the_oldest_job_runs_first(make_host: Callable[..., Host], tmp_path: Path) -> None:
    host = make_host(parallelism=1)
    blocker = host.submit(HELD)
    order = tmp_path / "order"
    names = [host.submit(f'echo {number} >> "{order}"', name=f"job-{9 - number}") for number in range(8)]
    host.release(blocker)
    for name in names:
        host.ended(name)
    assert order.read_text().split() == [str(number) for number in range(8)]


def test_exactly_as_many_jobs_run_at_once_as_there_are_slots(make_host: Callable[..., Host], tmp_path: Path) -> None:
    host, marks = make_host(parallelism=3), tmp_path / "marks"
    three = f'until [ $(grep -c + "{marks}") -ge 3 ]; do sleep 0.01; done'
    for _ in range(20):
        host.submit(f'echo + >> "{marks}"; {three}; sleep 0.01; echo - >> "{marks}"')
    for seen in observed(host.driver):
        host.ended(seen.name)
    assert most_at_once(marks) == 3


def test_no_process_is_left_after_the_last_job_has_ended(host: Host) -> None:
    for name in [host.submit("sleep 0.05") for _ in range(4)]:
        host.ended(name)
    eventually(lambda: not host.shims())
    assert {seen.phase for seen in observed(host.driver)} == {"succeeded"}


def test_a_job_submitted_while_the_last_shim_is_about_to_end_is_run(
    make_host: Callable[..., Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shim has found no job and still holds the only slot, so the submitter starts none. No reconcile follows."""
    shim = waiting_shim(tmp_path, "shim.py", "        os.close(held)\n")
    monkeypatch.setattr(shims, "_SHIM", str(shim))
    host = make_host(parallelism=1)
    host.submit("true")
    eventually((tmp_path / "waiting").exists)
    name = host.submit("true")
    (tmp_path / "go").touch()
    eventually(host.file(name, "end.json").exists)


def waiting_shim(directory: Path, file: str, line: str) -> Path:
    """A shim that creates the file `waiting` before that line of its source, and waits for the file `go` there."""
    for source in Path(shims.__file__).parent.glob("*.py"):
        shutil.copy(source, directory)
    text = (directory / file).read_text()
    assert text.count(line) == 1
    indent = line[: -len(line.lstrip())]
    waiting = f"""
def wait_for_the_test():
    open({str(directory / "waiting")!r}, "w").close()
    while not os.path.exists({str(directory / "go")!r}):
        time.sleep(0.001)


def """
    text = text.replace(line, f"{indent}wait_for_the_test()\n{line}")
    (directory / file).write_text(text.replace("\ndef ", waiting, 1))
    return directory / "shim.py"


def test_a_job_whose_shim_did_not_start_is_started_by_reconcile(host: Host) -> None:
    job = jobs.job("shell", "true")
    without = host.make_driver(python="/bin/false")
    assert without.submit(job, within(15)) == "created"
    assert {seen.phase for seen in observed(without)} == {"waiting"}
    assert host.reason(job.name) == "succeeded"


def test_a_job_whose_shim_did_not_start_is_started_by_a_repeated_submit(host: Host) -> None:
    job = jobs.job("shell", "true")
    host.make_driver(python="/bin/false").submit(job, within(15))
    assert host.state(job) == "exists"
    eventually(host.file(job.name, "end.json").exists)


def test_a_job_whose_shim_did_not_start_is_started_by_the_submit_of_another_job(host: Host) -> None:
    job = jobs.job("shell", "true")
    host.make_driver(python="/bin/false").submit(job, within(15))
    host.submit("true")
    eventually(host.file(job.name, "end.json").exists)


def test_reconcile_restores_a_queue_that_was_lost(make_host: Callable[..., Host]) -> None:
    host = make_host(parallelism=1)
    blocker, name = host.submit(ENDLESS), host.submit("true")
    for entry in (host.directory / ".queue").iterdir():
        entry.unlink()
    host.cancel(blocker)
    assert host.reason(name) == "succeeded"


def test_a_submit_leaves_its_process_no_children(host: Host) -> None:
    before = own_children()
    for _ in range(3):
        host.submit("true")
    assert own_children() <= before


def most_at_once(marks: Path) -> int:
    """How many ran at once, from a file with a `+` for each start and a `-` for each end, in that order."""
    running = most = 0
    for mark in marks.read_text().split():
        running += 1 if mark == "+" else -1
        most = max(most, running)
    return most


def own_children() -> set[int]:
    """The children of this process, zombies included."""
    processes = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    return {process for process in processes if parent(process) == os.getpid()}
