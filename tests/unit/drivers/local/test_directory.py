"""The local driver's directory: what else is in it, what if it fails us, and what goes when."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.drivers.driver import Retention
from runner.errors import Conflict, Rejected, Unavailable
from tests.clock import ManualClock
from tests.conformance import jobs
from tests.conformance.jobs import new_name
from tests.rounds import observed
from tests.unit.drivers.local.test_driver import DONE, ENDLESS, Host, eventually, hosts, run_python


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    with hosts(tmp_path / "jobs") as make:
        yield make


@pytest.fixture
def host(make_host: Callable[..., Host]) -> Host:
    return make_host()


def test_what_is_no_job_is_said_once_and_breaks_nothing(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    name = host.submit("true")
    (host.directory / "empty").mkdir()
    for stranger, content in {"garbage": "{", "other": '{"name": 1}', "nothing": ""}.items():
        (host.directory / stranger).mkdir()
        (host.directory / stranger / "job.json").write_text(content)
    (host.directory / "file").write_text("")
    (host.directory / "dangling").symlink_to("/nowhere")
    (host.directory / "round").mkdir()
    (host.directory / "round" / "job.json").symlink_to("job.json")
    with caplog.at_level(logging.WARNING, "orchestrator.local"):
        assert [host.reason(name), host.reason(name)] == ["succeeded"] * 2
    host.over(name)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(set(said)) == 6
    assert host.driver.reconcile(Retention(0, 0)) == 1


def test_a_copy_of_a_job_is_no_second_job(make_host: Callable[..., Host]) -> None:
    host = make_host(parallelism=1)
    host.submit(ENDLESS)
    name = host.submit("echo it ran")
    shutil.copytree(host.file(name), host.file(f"{name}.copy"))
    assert len(observed(host.driver)) == 2
    with pytest.raises(Unavailable, match=f"it is a copy of {name}"):
        host.cancel(f"{name}.copy")


def test_a_name_that_is_taken_by_something_else_is_unavailable_and_says_so(host: Host) -> None:
    (host.directory / "taken").mkdir(parents=True)
    (host.directory / "taken" / "file").touch()
    with pytest.raises(Unavailable, match="no job; move it away"):
        host.state(jobs.job("shell", name="taken"))


def test_a_job_that_the_shims_cannot_read_does_not_stop_the_others(make_host: Callable[..., Host]) -> None:
    host = make_host(parallelism=1)
    blocker, broken = host.submit(ENDLESS), host.submit("true")
    host.file(broken, "job.json").write_text("{")
    name = host.submit("true")
    host.cancel(blocker)
    assert host.reason(name) == "succeeded"


@pytest.mark.parametrize("name", ["../up", "a/b", "..", ".", "", ".slots", "a\0b", "-x", "a\n", "x" * 200])
def test_no_name_leads_out_of_the_directory(host: Host, name: str) -> None:
    for ask in (
        lambda: host.driver.logs(name),
        lambda: host.cancel(name, tombstone=True),
        lambda: host.state(jobs.job("shell", fingerprint="f", name=name or " ")),
    ):
        with pytest.raises(Rejected, match="no job"):
            ask()
    host.driver.mark_reported(name, DONE)


def test_it_is_ready(host: Host) -> None:
    host.driver.check()
    assert [path.name for path in host.directory.iterdir() if not path.is_dir()] == []
    assert sorted(path.name for path in host.directory.iterdir()) == [".making", ".queue", ".slots"]


def test_a_directory_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    host = Host(tmp_path / "file" / "jobs")
    for ask in (host.driver.check, host.submit, lambda: host.cancel(new_name(), tombstone=True)):
        with pytest.raises(Unavailable, match="Not a directory") as caught:
            ask()
        assert isinstance(caught.value.__cause__, OSError)


def test_without_images_or_python_no_job_could_be_made(host: Host) -> None:
    with pytest.raises(Rejected, match=r"local\.images"):
        host.make_driver(images={}).check()
    with pytest.raises(Unavailable, match="/nowhere/python"):
        host.make_driver(python="/nowhere/python").check()


def test_a_job_that_cannot_be_written_leaves_nothing_half_made(host: Host) -> None:
    """A limit on the size of files stands for a full disk: the write fails in the same place."""
    script = f"""
import resource
from pathlib import Path
from runner.errors import Unavailable
from tests.unit.drivers.local.test_driver import Host
host = Host(Path({str(host.directory)!r}))
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    host.submit("true")
except Unavailable as error:
    print(error.detail, "|", type(error.__cause__).__name__)
"""
    answer = run_python(script)
    assert "File too large | OSError" in answer
    assert [path for path in host.directory.iterdir() if path.name[:5] not in (".slot", ".queu", ".maki")] == []
    assert list((host.directory / ".making").iterdir()) == []


def test_a_host_that_fails_makes_no_job_disappear(host: Host) -> None:
    """A job that is not listed would be taken for deleted. To read this process' memory at 0 is an I/O error."""
    name = host.submit("true")
    host.over(name)
    host.file(name, "end.json").unlink()
    host.file(name, "end.json").symlink_to("/proc/self/mem")
    with pytest.raises(Unavailable, match="Input/output error"):
        observed(host.driver)


def test_an_end_that_cannot_be_written_down_yet_is_written_down_later(host: Host) -> None:
    name = host.submit(f"echo begun; {ENDLESS}")
    host.says(name, "begun")
    os.kill(host.shim_of(name), signal.SIGKILL)
    eventually(lambda: host.is_free(name))
    script = f"""
import resource
from pathlib import Path
from tests.unit.drivers.local.test_driver import Host
host = Host(Path({str(host.directory)!r}))
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
print(host.seen({name!r}).phase)
"""
    assert run_python(script) == "running\n"
    assert host.reason(name) == "disrupted"


def test_a_conflict_says_what_to_do(host: Host) -> None:
    name = host.submit("true", fingerprint="one")
    with pytest.raises(Conflict, match="new run_id"):
        host.state(jobs.job("shell", name=name, fingerprint="two"))


def test_a_reported_job_goes_after_its_retention_and_its_name_is_free(host: Host) -> None:
    clock = ManualClock()
    driver = host.make_driver(clock=clock)
    name = host.submit("true")
    host.over(name)
    driver.mark_reported(name, DONE)
    clock.advance(50)
    driver.mark_reported(name, DONE)
    assert driver.reconcile(Retention(100, 10**9)) == 0
    clock.advance(51)
    assert driver.reconcile(Retention(100, 10**9)) == 1
    assert observed(host.driver) == []
    assert host.state(jobs.job("shell", name=name, fingerprint="another")) == "created"


def test_an_end_that_nobody_reported_is_kept_until_it_is_very_old(host: Host) -> None:
    name = host.submit("true")
    host.over(name)
    ended = host.seen(name).ended
    assert ended is not None
    assert host.make_driver(clock=ManualClock(ended + 99)).reconcile(Retention(0, 100)) == 0
    assert host.make_driver(clock=ManualClock(ended + 101)).reconcile(Retention(0, 100)) == 1


def test_a_tombstone_goes_like_every_other_job(host: Host) -> None:
    name = new_name()
    host.cancel(name, tombstone=True)
    host.driver.mark_reported(name, DONE)
    assert host.driver.reconcile(Retention(0, 10**9)) == 1


def test_a_job_that_runs_or_waits_never_goes(make_host: Callable[..., Host]) -> None:
    host = make_host(parallelism=1)
    for name in (host.submit(ENDLESS), host.submit("true")):
        host.driver.mark_reported(name, DONE)
    assert host.make_driver(clock=ManualClock(time.time() + 10**6)).reconcile(Retention(0, 0)) == 0
    assert len(observed(host.driver)) == 2


def test_what_a_crash_left_goes_once_it_is_old(host: Host) -> None:
    host.driver.check()
    old, young, gone = (host.directory / name for name in (".new-a-1", ".new-b-2", ".gone-c-3"))
    entry, making = host.directory / ".queue" / "1.never-came", host.directory / ".making" / "never-came"
    for path in (old, young, gone):
        path.mkdir()
        (path / "secrets.json").touch()
    for path in (entry, making):
        path.touch()
    for path in (old, entry, making):
        os.utime(path, (0, 0))
    host.driver.reconcile(Retention(0, 0))
    assert [path.exists() for path in (old, young, gone, entry, making)] == [False, True, False, False, False]


def test_one_directory_that_cannot_be_removed_does_not_stop_the_rest(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    names = [host.submit("true", name=f"job-{number}") for number in range(3)]
    for name in names:
        host.over(name)
        host.driver.mark_reported(name, DONE)
    stuck = host.file(names[0], "immutable")
    stuck.touch()
    if subprocess.run(["chattr", "+i", stuck], capture_output=True, check=False).returncode:
        pytest.skip("no file can be made immutable here")
    try:
        assert host.driver.reconcile(Retention(0, 0)) == 2
        assert observed(host.driver) == []
        assert "could not be removed" in caplog.text
        assert host.driver.reconcile(Retention(0, 0)) == 0
    finally:
        left = next(host.directory.glob(".gone-*")) / "immutable"
        subprocess.run(["chattr", "-i", left], check=True)
    host.driver.reconcile(Retention(0, 0))
    assert list(host.directory.glob(".gone-*")) == []
