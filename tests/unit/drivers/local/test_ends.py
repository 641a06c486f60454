"""How jobs of the local driver end: by themselves, and by a cancellation."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.config.drivers import LocalImage
from runner.drivers.local import shims
from runner.jobs import Deadlines
from runner.observation import Outcome
from runner.outcomes import classify
from tests.conformance import jobs
from tests.harness.rounds import observed
from tests.unit.drivers.local.test_driver import DONE, ENDLESS, Host, eventually, hosts, processes, run_python
from tests.unit.drivers.local.test_slots import waiting_shim


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    with hosts(tmp_path / "jobs") as make:
        yield make


@pytest.fixture
def host(make_host: Callable[..., Host]) -> Host:
    return make_host()


def test_a_program_that_does_not_exist_is_misconfigured_and_names_the_setting(make_host: Callable[..., Host]) -> None:
    host = make_host(images={"*": LocalImage(command=("/nowhere/marvin",))})
    name = host.submit("true")
    assert host.reason(name) == "misconfigured"
    assert "'/nowhere/marvin' cannot be run on this host: No such file" in host.seen(name).configuration_error
    assert "local.images" in host.seen(name).configuration_error
    assert host.seen(name).container == "marvin"


def test_a_program_that_is_not_executable_is_misconfigured(make_host: Callable[..., Host], tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("no program")
    host = make_host(images={"*": LocalImage(command=(str(tmp_path / "plain"),))})
    name = host.submit("true", init="true")
    assert host.reason(name) == "misconfigured"
    assert "Permission denied" in host.seen(name).configuration_error
    assert host.seen(name).container == "coat"


def test_a_program_killed_by_sigkill_is_not_reported_as_out_of_memory(host: Host) -> None:
    name = host.submit("kill -9 $$")
    assert host.reason(name) == "analyzer_failed"
    seen = host.seen(name)
    assert (seen.main_exit, seen.out_of_memory, seen.signal, seen.container) == (137, False, 9, "marvin")
    assert "SIGKILL" in seen.message


def test_a_signal_becomes_the_exit_code_that_a_shell_reports(host: Host) -> None:
    seen = host.ended(host.submit("kill -SEGV $$"))
    assert (seen.main_exit, seen.signal) == (139, signal.SIGSEGV)


def test_an_init_container_that_takes_too_long_is_ended_and_the_main_container_never_starts(host: Host) -> None:
    name = host.submit("echo it ran", init=ENDLESS, deadlines=Deadlines(queue=60, clone=1, run=60))
    assert host.reason(name) == "timed_out"
    seen = host.seen(name)
    assert (seen.init_exit, seen.main_exit, seen.container) == (143, None, "coat")
    assert "the init container (coat) ran longer than 1 s" in seen.message
    assert not host.file(name, "main.log").exists()


def test_a_cancelled_program_gets_sigterm_before_sigkill(host: Host) -> None:
    name = host.submit("trap 'echo goodbye; exit 0' TERM; echo begun; while :; do sleep 0.05; done")
    host.await_log(name, "begun")
    host.cancel(name)
    assert host.reason(name) == "cancelled"
    assert host.driver.logs(name).endswith("goodbye\n")


OUTCOME = Outcome(reason="unschedulable", code=5102, hmessage="No machine had room for the job.")


def test_a_running_job_that_is_ended_names_the_tracker_and_its_reason(host: Host) -> None:
    name = host.submit("trap 'exit 0' TERM; echo begun; while :; do sleep 0.02; done")
    host.await_log(name, "begun")
    assert host.driver.end(host.seen(name), OUTCOME)
    seen = host.ended(name)
    assert (seen.phase, seen.main_exit, seen.ended_as) == ("failed", 0, OUTCOME)
    assert "(marvin) was stopped by the tracker (unschedulable)" in seen.message


def test_a_waiting_job_that_is_ended_ends_at_once_and_never_starts(make_host: Callable[..., Host]) -> None:
    host = make_host(parallelism=1)
    blocker, name = host.submit(ENDLESS), host.submit("echo it ran")
    assert host.driver.end(host.seen(name), OUTCOME)
    assert (host.seen(name).phase, host.seen(name).message) == ("failed", "ended before it began")
    host.cancel(blocker)
    assert host.reason(host.submit("true")) == "succeeded"
    assert host.driver.logs(name) == ""


def test_a_job_whose_end_was_decided_is_not_marked_by_who_saw_no_cancellation(host: Host) -> None:
    """The tracker's limit came after the cancel, so what it has published is not all that atlas is to get."""
    name = host.submit("echo begun; sleep 1000")
    host.await_log(name, "begun")
    seen = host.seen(name)
    host.cancel(name)
    assert not host.driver.end(seen, OUTCOME)
    assert not host.driver.mark_reported(seen, OUTCOME)
    assert (host.seen(name).reported, host.seen(name).ended_as) == (False, None)
    assert host.driver.mark_reported(host.ended(name), DONE)


def test_a_job_that_waits_too_long_is_unschedulable_and_never_starts(make_host: Callable[..., Host]) -> None:
    host = make_host(parallelism=1)
    host.submit(ENDLESS)
    name = host.submit("true", deadlines=Deadlines(queue=1, clone=60, run=60))
    assert host.reason(name) == "unschedulable"
    assert "1 s" in host.seen(name).unschedulable
    assert host.state(jobs.job("shell", name=name)) == "exists"


def test_processes_that_a_program_leaves_are_killed(host: Host) -> None:
    name = host.submit("setsid sleep 1000 & (setsid setsid sleep 1000 &) ; nohup sleep 1000 & sleep 0.1")
    assert host.reason(name) == "succeeded"
    eventually(lambda: not processes(str(host.file(name))))


def test_the_working_tree_is_removed_however_deep_and_the_log_is_kept(host: Host) -> None:
    deep = "import os; [(os.mkdir(100 * 'd'), os.chdir(100 * 'd')) for _ in range(60)]; os.chmod('.', 0)"
    name = host.submit(f'{sys.executable} -S -c "{deep}" && echo done')
    assert host.reason(name) == "succeeded"
    eventually(lambda: not host.file(name, "root").exists())
    assert host.driver.logs(name) == "done\n"


def test_a_log_over_the_limit_is_cut_down_to_its_head_and_tail(host: Host) -> None:
    name = host.submit("echo the head; yes 0123456789abcdef | head -c 30000000; echo the tail")
    assert host.reason(name) == "succeeded"
    log = host.file(name, "main.log")
    assert log.stat().st_size < 17 << 20
    content = log.read_bytes()
    assert content.startswith(b"the head\n")
    assert content.endswith(b"the tail\n")
    assert content.count(b"bytes were left out here]") == 1


@pytest.mark.skipif(not os.access("/sys/fs/cgroup/memory", os.W_OK), reason="needs a cgroup of its own")
def test_a_program_killed_by_the_out_of_memory_killer_is_reported_as_out_of_memory(host: Host) -> None:
    group = Path("/sys/fs/cgroup/memory") / f"orchestrator-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(100 << 20))
        name = run_python(
            f"""
import os, sys
from pathlib import Path
from tests.unit.drivers.local.test_driver import Host
Path({str(group)!r}, "cgroup.procs").write_text(str(os.getpid()))  # the shim and its children inherit the cgroup
greedy = f"{{sys.executable}} -S -c 'x = bytearray(1 << 30)'"
print(Host(Path({str(host.directory)!r})).submit(f"{{greedy}}; exit $?"), end="")
"""
        )
        assert host.reason(name) == "out_of_memory"
        assert host.seen(name).main_exit == 137
    finally:
        eventually(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def test_a_cancelled_job_that_waits_ends_at_once_and_never_starts(
    make_host: Callable[..., Host], tmp_path: Path
) -> None:
    host, ran = make_host(parallelism=1), tmp_path / "ran"
    blocker, name = host.submit(ENDLESS), host.submit(f'touch "{ran}"')
    assert host.cancel(name) == "cancelled"
    assert host.file(name, "end.json").exists()
    host.cancel(blocker)
    host.ended(blocker)
    assert host.reason(host.submit("true")) == "succeeded"
    assert not ran.exists()


def test_a_cancelled_job_that_runs_ends_within_half_a_second(host: Host) -> None:
    name = host.submit("trap 'exit 0' TERM; echo begun; while :; do sleep 0.02; done")
    host.await_log(name, "begun")
    began = time.monotonic()
    host.cancel(name)
    eventually(host.file(name, "end.json").exists)
    assert time.monotonic() - began < 0.5


def test_a_job_cancelled_during_its_init_container_never_starts_the_main_container(host: Host) -> None:
    name = host.submit("echo it ran", init="echo cloning; sleep 1000")
    host.await_log(name, "cloning")
    host.cancel(name)
    assert host.reason(name) == "cancelled"
    assert not host.file(name, "main.log").exists()


def test_a_cancel_after_the_shim_was_killed_leaves_the_job_disrupted(host: Host) -> None:
    name = host.submit("echo begun; sleep 1000")
    host.await_log(name, "begun")
    os.kill(host.shim_of(name), signal.SIGKILL)
    eventually(lambda: host.is_free(name))
    assert host.cancel(name) == "exists"
    assert ended_as(host, name) == "disrupted"


def ended_as(host: Host, name: str) -> str:
    """The reason of the end before which no cancellation was decided."""
    seen = host.ended(name)
    outcome = seen.ended_as if seen.cancelled else classify(seen)
    return outcome.reason if outcome else "cancelled"


BEFORE_THE_VERDICT = '    write_once(os.path.join(path, VERDICT), {"cancellation": None})\n'
AFTER_THE_VERDICT = '    write(os.path.join(path, END), {"phase": "failed", "ended": now, **facts})\n'


@pytest.mark.parametrize(
    ("line", "answer", "reason"),
    [(BEFORE_THE_VERDICT, "cancelled", "cancelled"), (AFTER_THE_VERDICT, "exists", "succeeded")],
)
def test_a_cancel_while_the_job_ends_wins_before_verdict_json_and_loses_after_it(
    make_host: Callable[..., Host],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    answer: str,
    reason: str,
) -> None:
    monkeypatch.setattr(shims, "_SHIM", str(waiting_shim(tmp_path, "files.py", line)))
    host = make_host()
    name = host.submit("true")
    eventually((tmp_path / "waiting").exists)
    assert host.cancel(name) == answer
    assert host.seen(name).phase == "running"
    (tmp_path / "go").touch()
    assert ended_as(host, name) == reason
    assert host.cancel(name) == answer


def test_a_job_whose_shim_is_killed_before_it_writes_the_end_is_disrupted(
    make_host: Callable[..., Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its program may have published its result, so the job is not run again."""
    monkeypatch.setattr(shims, "_SHIM", str(waiting_shim(tmp_path, "files.py", AFTER_THE_VERDICT)))
    host = make_host()
    name = host.submit("true")
    eventually((tmp_path / "waiting").exists)
    os.kill(host.shim_of(name), signal.SIGKILL)
    assert host.reason(name) == "disrupted"
    assert host.cancel(name) == "exists"


def test_reconcile_removes_the_working_tree_if_the_shim_was_killed_before_that(
    make_host: Callable[..., Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = waiting_shim(tmp_path, "files.py", "        remove(os.path.join(path, ROOT))\n")
    monkeypatch.setattr(shims, "_SHIM", str(shim))
    host = make_host()
    name = host.submit("true")
    eventually((tmp_path / "waiting").exists)
    os.kill(host.shim_of(name), signal.SIGKILL)
    assert host.reason(name) == "succeeded"
    eventually(lambda: not observed(host.driver) or not host.file(name, "root").exists())


def test_the_answer_to_a_cancel_agrees_with_the_listed_end(host: Host) -> None:
    """The real race between cancel and end, 25 times."""
    for _ in range(25):
        name = host.submit("true")
        eventually(host.file(name, "begun.json").exists)
        answer = host.cancel(name)
        assert (answer, ended_as(host, name)) in [("cancelled", "cancelled"), ("exists", "succeeded")]
