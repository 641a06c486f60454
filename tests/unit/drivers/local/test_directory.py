"""The local driver's directory: foreign files in it, errors of the host, and when jobs are removed."""

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
from runner.observation import Observation
from tests.conformance import jobs
from tests.conformance.jobs import new_name
from tests.harness.clock import ManualClock
from tests.harness.rounds import observed
from tests.unit.drivers.local.test_driver import DONE, ENDLESS, Host, eventually, hosts, run_python


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    with hosts(tmp_path / "jobs") as make:
        yield make


@pytest.fixture
def host(make_host: Callable[..., Host]) -> Host:
    return make_host()


def test_a_directory_that_is_no_job_is_logged_once_and_ignored(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    name = host.submit("true")
    (host.directory / "empty").mkdir()
    for foreign, content in {"garbage": "{", "other": '{"name": 1}', "nothing": ""}.items():
        (host.directory / foreign).mkdir()
        (host.directory / foreign / "job.json").write_text(content)
    (host.directory / "file").write_text("")
    (host.directory / "dangling").symlink_to("/nowhere")
    (host.directory / "loop").mkdir()
    (host.directory / "loop" / "job.json").symlink_to("job.json")
    with caplog.at_level(logging.WARNING, "orchestrator.local"):
        assert [host.reason(name), host.reason(name)] == ["succeeded"] * 2
    host.over(name)
    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == len(set(logged)) == 6
    assert host.driver.reconcile(Retention(0, 0)) == 1


def test_a_copy_of_a_job_s_directory_is_not_listed_and_cannot_be_cancelled(make_host: Callable[..., Host]) -> None:
    host = make_host(parallelism=1)
    host.submit(ENDLESS)
    name = host.submit("echo it ran")
    shutil.copytree(host.file(name), host.file(f"{name}.copy"))
    assert len(observed(host.driver)) == 2
    with pytest.raises(Unavailable, match=f"it is a copy of {name}"):
        host.cancel(f"{name}.copy")


def test_a_submit_is_unavailable_where_a_directory_that_is_no_job_has_the_name(host: Host) -> None:
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
def test_a_name_that_is_a_path_is_rejected(host: Host, name: str) -> None:
    for call in (
        lambda: host.driver.logs(name),
        lambda: host.cancel(name, tombstone=True),
        lambda: host.state(jobs.job("shell", fingerprint="f", name=name or " ")),
    ):
        with pytest.raises(Rejected, match="no job"):
            call()
    unknown = Observation(name=name, driver="local", pool="", phase="failed", created=0)
    assert not host.driver.mark_reported(unknown, DONE)
    assert host.driver.find(unknown) is None


def test_check_succeeds_and_leaves_only_the_shared_directories(host: Host) -> None:
    host.driver.check()
    assert [path.name for path in host.directory.iterdir() if not path.is_dir()] == []
    assert sorted(path.name for path in host.directory.iterdir()) == [".making", ".queue", ".slots"]


def test_a_directory_that_cannot_be_created_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    host = Host(tmp_path / "file" / "jobs")
    for call in (host.driver.check, host.submit, lambda: host.cancel(new_name(), tombstone=True)):
        with pytest.raises(Unavailable, match="Not a directory") as caught:
            call()
        assert isinstance(caught.value.__cause__, OSError)


def test_check_fails_without_images_or_python(host: Host) -> None:
    with pytest.raises(Rejected, match=r"local\.images"):
        host.make_driver(images={}).check()
    with pytest.raises(Unavailable, match="/nowhere/python"):
        host.make_driver(python="/nowhere/python").check()


def test_a_job_that_cannot_be_written_leaves_no_files(host: Host) -> None:
    """A limit on the size of files acts as a full disk: the write fails in the same place."""
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
    assert "File too large; check the directory and its disk | OSError" in answer
    assert [path for path in host.directory.iterdir() if path.name[:5] not in (".slot", ".queu", ".maki")] == []
    assert list((host.directory / ".making").iterdir()) == []


def test_an_io_error_is_raised_and_drops_no_job_from_the_listing(host: Host) -> None:
    """A job that is not listed counts as deleted. Reading /proc/self/mem at offset 0 is an I/O error."""
    name = host.submit("true")
    host.over(name)
    host.file(name, "end.json").unlink()
    host.file(name, "end.json").symlink_to("/proc/self/mem")
    with pytest.raises(Unavailable, match="Input/output error"):
        observed(host.driver)


def test_an_end_that_cannot_be_written_is_written_by_a_later_reconcile(host: Host) -> None:
    """A limit on the size of files makes the write fail. It is lifted before the exit, which flushes stderr."""
    name = host.submit(f"echo begun; {ENDLESS}")
    host.await_log(name, "begun")
    os.kill(host.shim_of(name), signal.SIGKILL)
    eventually(lambda: host.is_free(name))
    script = f"""
import resource
from pathlib import Path
from tests.unit.drivers.local.test_driver import Host
host = Host(Path({str(host.directory)!r}))
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
phase = host.seen({name!r}).phase
resource.setrlimit(resource.RLIMIT_FSIZE, before)
print(phase)
"""
    assert run_python(script) == "running\n"
    assert host.reason(name) == "disrupted"


def test_a_conflict_asks_for_a_new_run_id(host: Host) -> None:
    name = host.submit("true", fingerprint="one")
    with pytest.raises(Conflict, match="new run_id"):
        host.state(jobs.job("shell", name=name, fingerprint="two"))


def test_a_reported_job_is_removed_after_its_retention_and_its_name_is_free(host: Host) -> None:
    clock = ManualClock()
    driver = host.make_driver(clock=clock)
    name = host.submit("true")
    host.over(name)
    seen = host.seen(name)
    assert driver.mark_reported(seen, DONE)
    clock.advance(50)
    assert driver.mark_reported(seen, DONE)
    assert driver.reconcile(Retention(100, 10**9)) == 0
    clock.advance(51)
    assert driver.reconcile(Retention(100, 10**9)) == 1
    assert observed(host.driver) == []
    assert host.state(jobs.job("shell", name=name, fingerprint="another")) == "created"


def test_an_unreported_job_is_removed_once_it_is_as_old_as_orphan_age(host: Host) -> None:
    name = host.submit("true")
    host.over(name)
    ended = host.seen(name).ended
    assert ended is not None
    assert host.make_driver(clock=ManualClock(ended + 99)).reconcile(Retention(0, 100)) == 0
    assert host.make_driver(clock=ManualClock(ended + 101)).reconcile(Retention(0, 100)) == 1


def test_a_tombstone_is_removed_like_any_other_job(host: Host) -> None:
    name = new_name()
    host.cancel(name, tombstone=True)
    assert host.driver.mark_reported(host.seen(name), DONE)
    assert host.driver.reconcile(Retention(0, 10**9)) == 1


def test_a_running_or_waiting_job_is_never_removed(make_host: Callable[..., Host]) -> None:
    host = make_host(parallelism=1)
    for name in (host.submit(ENDLESS), host.submit("true")):
        assert host.driver.mark_reported(host.seen(name), DONE)
    assert host.make_driver(clock=ManualClock(time.time() + 10**6)).reconcile(Retention(0, 0)) == 0
    assert len(observed(host.driver)) == 2


def test_files_that_a_crash_left_are_removed_once_they_are_old(host: Host) -> None:
    host.driver.check()
    old, young, gone = (host.directory / name for name in (".new-a-1", ".new-b-2", ".gone-c-3"))
    entry, making = host.directory / ".queue" / "1.never-created", host.directory / ".making" / "never-created"
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
        assert host.driver.mark_reported(host.seen(name), DONE)
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
