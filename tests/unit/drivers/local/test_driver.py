"""What a job's program sees of its host, with real processes. Other tests of the local driver import Host from here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from runner.config.drivers import LocalImage
from runner.drivers.local import files, locks
from runner.drivers.local.driver import LocalDriver
from runner.errors import Rejected
from runner.jobs import JobSpec, State
from runner.observation import Observation, Outcome
from runner.outcomes import classify
from runner.runtime.clock import SystemClock
from tests.conformance import jobs
from tests.conformance.jobs import SecretResolver
from tests.conftest import ROOT
from tests.harness.deadlines import within
from tests.harness.rounds import observed

T = TypeVar("T")
ENDLESS = "sleep 1000"
HELD = 'echo held; until [ -e "$CODE_PATH/released" ]; do sleep 0.01; done'
"""A program that runs until the test calls `Host.release`."""

LIBC_SIGNALS = 0b11 << 31
"""Signals 32 and 33, which glibc reserves for its threads. If the test's parent ignores them, they stay ignored."""

DONE = Outcome(reason="succeeded", code=0, hmessage="The run finished.")


def eventually(read: Callable[[], T | None], seconds: float = 15.0) -> T:
    """The first true value of `read`.

    `read` is called for that many seconds, and at least 100 times, so a suspended machine causes no failure.
    """
    until, left = time.monotonic() + seconds, 100
    while not (found := read()):
        left -= 1
        assert left > 0 or time.monotonic() < until, f"it gave nothing true in {seconds} s"
        time.sleep(0.01)
    return found


def processes(text: str) -> list[int]:
    """The processes that have `text` in their arguments or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if text.encode() in (process / "cmdline").read_bytes() + (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


def arguments(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


def parent(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


class Host:
    """A directory of jobs, and a driver over it."""

    def __init__(
        self, directory: Path, *, parallelism: int = 2, images: Mapping[str, LocalImage] | None = None
    ) -> None:
        self.directory = directory
        self.resolver = SecretResolver()
        self.parallelism = parallelism
        self.images = {"*": LocalImage()} if images is None else images
        self.driver = self.make_driver()

    def make_driver(self, **changes: Any) -> LocalDriver:
        settings: dict[str, Any] = {
            "parallelism": self.parallelism,
            "images": self.images,
            "resolve_secrets": self.resolver,
            "clock": SystemClock(),
        }
        return LocalDriver(self.directory, **{**settings, **changes})

    def submit(self, main: str | JobSpec = "true", **fields: Any) -> str:
        """Submit a job, given or made from a script, and give its name."""
        job = main if isinstance(main, JobSpec) else jobs.job("shell", main, **fields)
        assert self.state(job) == "created"
        return job.name

    def state(self, job: JobSpec) -> State:
        return self.driver.submit(job, within(15))

    def cancel(self, name: str, *, tombstone: bool = False) -> State | None:
        return self.driver.cancel(jobs.cancellation(name), within(15), tombstone=tombstone)

    def seen(self, name: str) -> Observation:
        (found,) = [seen for seen in observed(self.driver) if seen.name == name]
        return found

    def ended(self, name: str) -> Observation:
        return eventually(lambda: seen if (seen := self.seen(name)).ended else None)

    def reason(self, name: str) -> str:
        outcome = classify(self.ended(name))
        assert outcome is not None
        return outcome.reason

    def over(self, name: str) -> None:
        """Wait until the job has ended, and its shim has removed its working tree and released its lock."""
        self.ended(name)
        eventually(lambda: self.is_free(name))

    def await_log(self, name: str, text: str) -> str:
        """The job's log, once it contains that text."""
        return eventually(lambda: found if text in (found := self.driver.logs(name)) else "")

    def release(self, name: str) -> None:
        """Let a job whose program is HELD end."""
        self.await_log(name, "held")
        self.file(name, "root", "code", "released").touch()

    def file(self, name: str, *parts: str) -> Path:
        return self.directory.joinpath(name, *parts)

    def shim_of(self, name: str) -> int:
        begun = json.loads(self.file(name, "begun.json").read_text())
        return int(begun["shim"])

    def is_free(self, name: str) -> bool:
        """Whether no process of the job is left."""
        with locks.locked(str(self.file(name, files.LOCK))) as idle:
            return idle

    def shims(self) -> list[int]:
        """The shims of this directory, and their keepers."""
        return [process for process in processes(str(self.directory)) if "shim.py" in arguments(process)]

    def close(self) -> None:
        """Kill the processes that are left: jobs outlive their driver on purpose."""
        while left := [process for process in processes(str(self.directory)) if process != os.getpid()]:
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)


@contextmanager
def hosts(directory: Path) -> Iterator[Callable[..., Host]]:
    """Makes hosts, and kills their processes at the end."""
    made: list[Host] = []

    def make(**settings: Any) -> Host:
        made.append(Host(directory, **settings))
        return made[-1]

    yield make
    for host in made:
        host.close()


def start_python(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a process that runs a script in the tree under test."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def run_python(script: str, *arguments: object) -> str:
    """Run a script in the tree under test to its end. Gives what it printed."""
    with start_python(script, *arguments) as process:
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return printed


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    with hosts(tmp_path / "jobs") as make:
        yield make


@pytest.fixture
def host(make_host: Callable[..., Host]) -> Host:
    return make_host()


def test_a_job_has_directories_of_its_own_as_volumes_and_starts_in_its_code(host: Host) -> None:
    name = host.submit('pwd; ls -a "$ORCHESTRATOR_ROOT"; test -d "$HOME" && test -w "$TMPDIR" && echo fine')
    assert host.reason(name) == "succeeded"
    root = str(host.file(name, "root"))
    printed = host.driver.logs(name).splitlines()
    assert printed[0] == f"{root}/code"
    assert {"code", "home", "tmp", "toolbox", "fine"} <= set(printed)


def test_variables_with_a_path_of_the_job_get_the_path_on_the_host(host: Host) -> None:
    named = {"A": "/code", "B": "/toolbox/marvin", "C": "/codex", "D": "see /code", "E": "/tmp", "F": "/etc/passwd"}
    name = host.submit("; ".join(f'echo "${each}"' for each in named), env=named)
    host.ended(name)
    root = str(host.file(name, "root"))
    assert host.driver.logs(name).splitlines() == [
        f"{root}/code", f"{root}/toolbox/marvin", "/codex", "see /code", f"{root}/tmp", "/etc/passwd"
    ]  # fmt: skip


def test_a_program_gets_only_path_and_lang_of_the_driver_s_environment(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the driver's own")
    name = host.submit("env", env={"OWN": "1"})
    host.ended(name)
    variables = {line.partition("=")[0] for line in host.driver.logs(name).splitlines()}
    shell = {"PWD", "OLDPWD", "SHLVL", "_"}
    assert variables - shell == {"PATH", "LANG", "HOME", "TMPDIR", "ORCHESTRATOR_ROOT", "CODE_PATH", "OWN"}


def test_a_program_inherits_no_descriptor_but_its_standard_streams(host: Host) -> None:
    with open(os.devnull) as leak:
        os.set_inheritable(leak.fileno(), True)
        name = host.submit("exec ls -l /proc/self/fd")
    host.ended(name)
    numbers = [line.split(" -> ")[0].split()[-1] for line in host.driver.logs(name).splitlines() if "->" in line]
    assert numbers == ["0", "1", "2", "3"]  # the last is that of the directory that ls reads


def test_a_program_starts_with_no_signal_blocked_or_ignored(make_host: Callable[..., Host]) -> None:
    status = LocalImage(command=("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"))  # a shell would reset them
    host = make_host(images={"*": status})
    name = host.submit()
    host.ended(name)
    masks = [int(line.split()[1], 16) for line in host.driver.logs(name).splitlines()]
    assert [mask & ~LIBC_SIGNALS for mask in masks] == [0, 0]


def test_the_image_s_command_is_run_with_the_container_s_arguments(make_host: Callable[..., Host]) -> None:
    host = make_host(images={"sh*": LocalImage(command=("/bin/echo", "instead of"))})
    name = host.submit(ENDLESS, args=["--flag", "a b"])
    assert host.reason(name) == "succeeded"
    assert host.driver.logs(name) == "instead of --flag a b\n"


def test_an_image_without_an_entry_is_rejected_before_secrets_are_resolved(make_host: Callable[..., Host]) -> None:
    host = make_host(images={"marvin-*": LocalImage()})
    job = jobs.job("registry:5000/team/bumblebee:3", "true")
    with pytest.raises(Rejected, match=r"registry:5000/team/bumblebee:3.*'bumblebee'.*local\.images"):
        host.state(job)
    assert not host.resolver.asked
    assert observed(host.driver) == []


def test_the_shim_ignores_the_working_directory_and_python_s_variables(
    make_host: Callable[..., Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("json", "os", "ctypes", "sitecustomize", "files"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('imported what it should not')")
    monkeypatch.chdir(tmp_path)
    for variable in ("PYTHONPATH", "PYTHONHOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    host = make_host()
    assert host.reason(host.submit("true")) == "succeeded"


def test_a_relative_directory_is_resolved_where_the_driver_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    host = Host(Path("below"))
    monkeypatch.chdir("/")
    assert host.reason(host.submit("true")) == "succeeded"
    assert (tmp_path / "below").is_dir()


def test_a_job_that_waits_for_a_slot_is_explained_by_it(make_host: Callable[..., Host]) -> None:
    host = make_host(parallelism=1)
    first = host.submit(ENDLESS)
    eventually(lambda: host.seen(first).phase == "running")
    second = host.submit("true")
    waiting = host.seen(second)
    assert host.make_driver().explain(waiting).unschedulable == "no slot is free: local.parallelism is 1"
    assert not host.driver.explain(host.seen(first)).unschedulable
    host.cancel(first)
    assert host.reason(second) == "succeeded"
    assert not host.make_driver().explain(waiting).unschedulable
