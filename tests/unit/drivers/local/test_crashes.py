"""kill -9 of every process at every step, and many submitters: each job runs at most once, and its end is recorded."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from runner.jobs import Deadlines, JobSpec, Secret
from tests.conformance import jobs
from tests.conformance.jobs import new_name
from tests.harness.deadlines import within
from tests.harness.rounds import observed
from tests.unit.drivers.local.test_driver import ENDLESS, Host, eventually, hosts, parent, processes, start_python
from tests.unit.drivers.local.test_secrets import SECRET, files_with
from tests.unit.drivers.local.test_slots import most_at_once

PATIENCE = Deadlines(queue=600, clone=60, run=60)


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    with hosts(tmp_path / "jobs") as make:
        yield make


@pytest.fixture
def host(make_host: Callable[..., Host]) -> Host:
    return make_host()


# These scripts run in processes of their own and do not import pytest, which would take longer than their work.
DYING = """
import os, signal, sys
from tests.harness.deadlines import within
from runner.drivers.local import driver as local
from runner.drivers.local import files, locks, shims
from runner.config.drivers import LocalImage
from runner.runtime.clock import SystemClock
from tests.conformance import jobs

def die(*_arguments, **_named):
    os.kill(os.getpid(), signal.SIGKILL)

directory, name, where, what, doing = sys.argv[1:]
setattr({"os": os, "files": files, "shims": shims.Shims}[where], what, die)
driver = local.LocalDriver(
    directory, parallelism=2, images={"*": LocalImage()}, resolve_secrets=jobs.SecretResolver(), clock=SystemClock()
)
if doing == "cancel":
    driver.cancel(jobs.cancellation(name), within(15), tombstone=True)
else:
    driver.submit(jobs.job("shell", "echo it ran", name=name), within(15))
"""


def die(host: Host, name: str, at: str, *, doing: str = "submit") -> None:
    """Start a process that submits (or cancels) a job and is killed by SIGKILL in place of the step `at`."""
    where, _, what = at.partition(".")
    with start_python(DYING, host.directory, name, where, what, doing) as process:
        assert process.wait(30) == -signal.SIGKILL


@pytest.mark.parametrize(
    "at", ["files.enqueue", "files.make", "files._put", "os.rename", "shims.start", "shims._spawn"]
)
def test_after_a_submitter_is_killed_at_any_step_a_repeat_runs_the_job_once(host: Host, at: str) -> None:
    name = new_name()
    die(host, name, at)
    assert len(observed(host.driver)) == int(at.startswith("shims."))
    assert host.state(jobs.job("shell", "echo it ran", name=name)) in ("created", "exists")
    assert host.reason(name) == "succeeded"
    assert host.driver.logs(name) == "it ran\n"
    host.driver.check()


def test_reconcile_starts_a_job_whose_submitter_was_killed_before_it_started_the_shim(host: Host) -> None:
    name = new_name()
    die(host, name, "shims._spawn")
    assert host.reason(name) == "succeeded"


@pytest.mark.parametrize("at", ["files.end_if_over", "files.end"])
def test_after_a_canceller_is_killed_at_any_step_a_repeat_cancels_the_job(host: Host, at: str) -> None:
    job = jobs.job("shell", "echo it ran")
    host.make_driver(python="/bin/false").submit(job, within(15))
    die(host, job.name, at, doing="cancel")
    assert host.cancel(job.name) == "cancelled"
    assert host.reason(job.name) == "cancelled"
    assert host.driver.logs(job.name) == ""


@pytest.mark.parametrize("at", ["files.end", "files.write"])
def test_a_canceller_killed_after_it_wrote_verdict_json_has_cancelled_the_job(host: Host, at: str) -> None:
    job = jobs.job("shell", "echo it ran", secrets={"PASSWORD": Secret(SECRET)})
    host.make_driver(python="/bin/false").submit(job, within(15))
    die(host, job.name, at, doing="cancel")
    assert host.reason(job.name) == "cancelled"
    assert host.state(job) == "cancelled"
    assert host.driver.logs(job.name) == ""
    assert files_with(SECRET, host.directory) == []


def test_a_job_whose_shim_is_killed_is_disrupted_and_none_of_its_processes_is_left(host: Host) -> None:
    strays = "(setsid sh -c 'while :; do echo alive >> \"$CODE_PATH/../../strays\"; sleep 0.01; done' &)"
    script = f"{strays}; echo begun; echo once >> ../../runs; sleep 1000"
    job = jobs.job("shell", script, secrets={"PASSWORD": Secret(SECRET)})
    host.submit(job)
    host.await_log(job.name, "begun")
    eventually(host.file(job.name, "strays").exists)
    os.kill(host.shim_of(job.name), signal.SIGKILL)
    assert host.reason(job.name) == "disrupted"
    # Once the job has ended, no process is left that could write.
    assert processes(str(host.file(job.name))) == []
    before = host.file(job.name, "strays").read_bytes()
    assert host.state(job) == "exists"
    assert host.reason(host.submit("true")) == "succeeded"
    assert host.reason(job.name) == "disrupted"
    assert host.file(job.name, "strays").read_bytes() == before
    assert host.file(job.name, "runs").read_text() == "once\n"
    assert not host.file(job.name, "root").exists()
    assert files_with(SECRET, host.directory) == []


def test_a_job_whose_keeper_is_killed_is_disrupted_and_its_shim_runs_the_next_job(
    make_host: Callable[..., Host],
) -> None:
    host = make_host(parallelism=1)
    name = host.submit("(setsid sleep 1000 &); echo begun; sleep 1000")
    following = host.submit("true")
    host.await_log(name, "begun")
    shim = host.shim_of(name)
    (keeper,) = [process for process in host.shims() if parent(process) == shim]
    os.kill(keeper, signal.SIGKILL)
    assert host.reason(name) == "disrupted"
    assert "keeper" in host.seen(name).message
    assert processes(str(host.file(name))) == []
    assert host.reason(following) == "succeeded"
    assert host.shim_of(following) == shim


def test_a_program_is_killed_even_if_shim_and_keeper_are_killed_at_once(host: Host) -> None:
    name = host.submit("echo begun; exec sleep 1000")
    host.await_log(name, "begun")
    for process in host.shims():
        os.kill(process, signal.SIGKILL)
    assert host.reason(name) == "disrupted"
    eventually(lambda: not processes(str(host.file(name))))


def test_a_shim_that_gets_sigterm_ends_with_its_job(host: Host) -> None:
    """A host that shuts down sends SIGTERM."""
    name = host.submit(f"echo begun; {ENDLESS}")
    host.await_log(name, "begun")
    os.kill(host.shim_of(name), signal.SIGTERM)
    assert host.reason(name) == "disrupted"
    assert processes(str(host.file(name))) == []


CROWD = """
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from random import Random
from tests.harness.deadlines import within
from runner.drivers.local.driver import LocalDriver
from runner.jobs import Deadlines
from runner.config.drivers import LocalImage
from runner.runtime.clock import SystemClock
from runner.runtime.struct_types import learn_struct_types
from tests.conformance import jobs

directory, script, seed, count, times = sys.argv[1:]
driver = LocalDriver(
    directory, parallelism=3, images={"*": LocalImage()}, resolve_secrets=jobs.SecretResolver(), clock=SystemClock()
)
wanted = [f"job-{number}" for number in range(int(count))] * int(times)
Random(int(seed)).shuffle(wanted)

def submit(name):
    job = jobs.job("shell", script, name=name, env={"NAME": name}, deadlines=Deadlines(queue=600, clone=60, run=60))
    return driver.submit(job, within(60))

learn_struct_types()  # before there are threads, as every process of ours does
print("go", flush=True)
with ThreadPoolExecutor(8) as pool:
    states = Counter(pool.map(submit, wanted))
print(states["created"], states["exists"])
"""


def script(host: Host) -> str:
    """A short program that appends a `+` at its start and a `-` at its end to one file, and its name to another."""
    folder = host.directory.parent
    return f'echo + >> {folder}/starts_and_ends; echo "$NAME" >> {folder}/ran; echo - >> {folder}/starts_and_ends'


def member(host: Host, name: str) -> JobSpec:
    """One of the jobs that CROWD submits."""
    return jobs.job("shell", script(host), name=name, env={"NAME": name}, deadlines=PATIENCE)


def crowd(host: Host, seed: int, count: int, times: int) -> subprocess.Popen[str]:
    """A process that submits each of `count` jobs `times` times, from eight threads."""
    return start_python(CROWD, host.directory, script(host), seed, count, times)


def ran(host: Host) -> Counter[str]:
    """How many times each job has run."""
    return Counter((host.directory.parent / "ran").read_text().split())


def all_ended(host: Host, count: int) -> bool:
    return len(list(host.directory.glob("job-*/end.json"))) == count


def test_a_thousand_submits_of_a_hundred_names_from_four_processes_run_each_job_once(
    make_host: Callable[..., Host],
) -> None:
    host = make_host(parallelism=3)
    started = [crowd(host, seed, 100, times) for seed, times in enumerate((3, 3, 2, 2))]
    printed = [process.communicate(timeout=60)[0].split() for process in started]
    assert sum(int(created) for _, created, _ in printed) == 100
    assert sum(int(exists) for _, _, exists in printed) == 900
    eventually(lambda: all_ended(host, 100), 60)  # reconcile is not called: the shims must find all jobs
    assert ran(host) == {f"job-{number}": 1 for number in range(100)}
    assert {seen.phase for seen in observed(host.driver)} == {"succeeded"}
    assert most_at_once(host.directory.parent / "starts_and_ends") <= 3


def test_after_submitters_are_killed_at_any_moment_repeats_run_each_job_once(make_host: Callable[..., Host]) -> None:
    host, moments = make_host(parallelism=3), random.Random(7)
    for seed in range(5):
        with crowd(host, seed, 60, 1) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "go\n"
            time.sleep(moments.uniform(0, 0.1))
            process.kill()
    for number in range(60):
        host.state(member(host, f"job-{number}"))
    eventually(lambda: all_ended(host, 60), 60)
    assert ran(host) == {f"job-{number}": 1 for number in range(60)}
    assert most_at_once(host.directory.parent / "starts_and_ends") <= 3


def test_with_shims_and_keepers_killed_at_any_moment_every_job_ends_and_none_runs_twice(
    make_host: Callable[..., Host],
) -> None:
    host, moments = make_host(parallelism=3), random.Random(11)
    names = [f"job-{number}" for number in range(60)]
    with ThreadPoolExecutor(1) as pool:
        submitted = pool.submit(lambda: [host.submit(member(host, name)) for name in names])
        while not (submitted.done() and all_ended(host, 60)):
            observed(host.driver)  # reconcile, as the tracker calls it
            for process in host.shims():
                if moments.random() < 0.1:
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
        submitted.result()
    # A keeper's child that is killed before it calls exec counts as a program that was killed: exit code 137.
    ends = {name: (host.reason(name), host.seen(name).main_exit) for name in names}
    assert set(ends.values()) > {("succeeded", 0)}
    assert set(ends.values()) <= {("succeeded", 0), ("disrupted", None), ("analyzer_failed", 137)}
    times = ran(host)
    assert max(times.values()) == 1
    assert all(times[name] == 1 for name in names if ends[name] == ("succeeded", 0))
    eventually(lambda: not [each for each in processes(str(host.directory)) if each != os.getpid()])
