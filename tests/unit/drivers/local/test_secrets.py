"""The local driver's secrets reach the program that needs them, and no other process or file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from runner.config.drivers import LocalImage
from runner.jobs import JobSpec, Secret
from tests.conformance import jobs
from tests.conformance.jobs import secret_ref
from tests.harness.deadlines import within
from tests.unit.drivers.local.test_driver import ENDLESS, HELD, Host, arguments, hosts


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    with hosts(tmp_path / "jobs") as make:
        yield make


@pytest.fixture
def host(make_host: Callable[..., Host]) -> Host:
    return make_host()


SECRET = "hunter2-and-nobody-knows"


def test_no_secret_is_in_a_process_s_arguments_or_a_file_during_or_after_the_run(host: Host) -> None:
    name = host.submit(
        'test "$PASSWORD" = "$(printf %s hunter2; printf %s -and-nobody-knows)" || exit 3'
        '; test "$1" = \'$(PASSWORD)\' || exit 4; echo "$PASSWORD"; ' + HELD,
        args=[secret_ref("PASSWORD")],
        secrets={"PASSWORD": Secret(SECRET)},
    )
    host.await_log(name, "held")
    all_arguments = "".join(arguments(int(path.name)) for path in Path("/proc").glob("[0-9]*"))
    assert str(host.directory) in all_arguments
    assert SECRET not in all_arguments
    assert files_with(SECRET, host.directory) == []
    host.release(name)
    assert host.reason(name) == "succeeded"
    assert host.driver.logs(name) == "***\nheld\n"
    assert files_with(SECRET, host.directory) == []


def test_secrets_are_on_the_disk_for_this_user_only_while_the_job_waits(make_host: Callable[..., Host]) -> None:
    host = make_host(parallelism=1)
    first = host.submit(ENDLESS)
    second = host.submit(f"echo begun; {ENDLESS}", secrets={"PASSWORD": Secret(SECRET)})
    assert files_with(SECRET, host.directory) == [host.file(second, "secrets.json")]
    modes = {path.stat().st_mode & 0o777 for path in host.directory.rglob("*") if path.is_file()}
    directories = {path.stat().st_mode & 0o777 for path in [host.directory, *host.directory.glob("*/")]}
    assert (modes, directories) == ({0o600}, {0o700})
    host.cancel(first)
    host.await_log(second, "begun")
    assert files_with(SECRET, host.directory) == []


def test_secrets_of_a_job_that_is_cancelled_while_it_waits_are_removed(make_host: Callable[..., Host]) -> None:
    host = make_host(parallelism=1)
    host.submit(ENDLESS)
    waiting = host.submit("true", secrets={"PASSWORD": Secret(SECRET)})
    host.cancel(waiting)
    assert files_with(SECRET, host.directory) == []


def test_secrets_are_resolved_once_if_many_submit_the_job_at_once(host: Host) -> None:
    job = jobs.job("shell", secrets={"PASSWORD": Secret(SECRET)})
    asked = []

    def resolve_secrets(job: JobSpec) -> dict[str, str]:
        asked.append(job.name)
        time.sleep(0.05)  # all other submits arrive during this
        return {"PASSWORD": SECRET}

    drivers = [host.make_driver(resolve_secrets=resolve_secrets) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        states = list(pool.map(lambda driver: driver.submit(job, within(15)), drivers))
    assert sorted(states) == ["created"] + ["exists"] * 7
    assert asked == [job.name]


def test_modes_do_not_depend_on_the_umask(host: Host) -> None:
    before = os.umask(0o177)
    try:
        name = host.submit(f"echo begun; {ENDLESS}", secrets={"PASSWORD": Secret(SECRET)})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in [host.directory, *host.directory.glob("*/")]} == {0o700}
    host.cancel(name)


def test_the_value_is_an_argument_if_the_image_expands_secrets(make_host: Callable[..., Host]) -> None:
    host = make_host(images={"*": LocalImage(secret_arguments="expand")})
    name = host.submit(
        'test "$1" = $(printf %s hunter2; printf %s -and-nobody-knows) && test -z "$PASSWORD"',
        args=[secret_ref("PASSWORD")],
        secrets={"PASSWORD": Secret(SECRET)},
    )
    assert host.reason(name) == "succeeded"


def test_no_secret_is_in_the_evidence_of_a_failure(host: Host) -> None:
    key = "-----BEGIN KEY-----\nline-one-of-the-key\nline-two-of-the-key\n-----END KEY-----\n"
    url = "https://x-access-token:ghp-0123456789@example.com/a.git"
    name = host.submit(
        'echo "$URL"; echo "${URL#https://*:}"; echo "$KEY" | tail -3; exit 3',
        env={"URL": secret_ref("URL"), "KEY": secret_ref("KEY")},
        secrets={"URL": Secret(url), "KEY": Secret(key)},
    )
    tail = host.ended(name).log_tail
    assert "ghp-0123456789" not in tail
    assert "of-the-key" not in tail
    assert "example.com/a.git" in tail


def files_with(text: str, directory: Path) -> list[Path]:
    """The files that contain `text`. Files may appear and disappear during the search."""
    found = []
    for at, _, names in os.walk(directory):
        for path in (Path(at, name) for name in names):
            with suppress(FileNotFoundError):
                if path.is_file() and text.encode() in path.read_bytes():
                    found.append(path)
    return found
