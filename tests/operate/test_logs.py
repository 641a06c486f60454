"""`jobs logs`: the last lines, or with -f all lines while they are printed, from another process."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from runner import composition
from runner.cli import main as command_line
from runner.config.loading import parse
from runner.drivers.driver import Driver
from runner.runtime import exit_codes
from tests.conformance.jobs import Program, cancellation, job
from tests.conftest import ROOT, KeyPair
from tests.harness.deadlines import within
from tests.harness.processes import eventually

NAME = "analysis-2c41-1"
TALKS = Program(prints="one\ntoken=hunter2hunter2\n\x1b[2Jtwo\n", endless=True)


class Installation:
    """A configuration with the local driver, and its jobs."""

    def __init__(self, directory: Path, keys: tuple[KeyPair, KeyPair]) -> None:
        document: dict[str, Any] = {
            "runner": {"id": "runner-1", "privateKey": keys[0].private},
            "deepsource": {"host": "http://127.0.0.1:9", "publicKey": keys[1].public},
            "driver": "local",
            "local": {"directory": str(directory / "jobs"), "images": {"*": {}}},
        }
        self.path = directory / "orchestrator.yaml"
        self.path.write_text(yaml.safe_dump(document))
        self.driver: Driver = composition.drivers(parse(self.path.read_text(), {}))["local"]

    def submit(self, program: Program, init: Program | None = None) -> None:
        self.driver.submit(job("marvin", program, init=init, name=NAME), within(5))

    @contextmanager
    def follow(self) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-m", "runner", "jobs", "logs", "-f", NAME, "--config", str(self.path)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as followed:
            yield followed
            followed.kill()

    def logs(self, *arguments: str) -> Result:
        return CliRunner().invoke(command_line, ["jobs", "logs", NAME, "--config", str(self.path), *arguments])

    def cancel(self) -> None:
        self.driver.cancel(cancellation(NAME), within(5), tombstone=False)


@pytest.fixture
def installation(tmp_path: Path, runner_keys: KeyPair, atlas_keys: KeyPair) -> Iterator[Installation]:
    made = Installation(tmp_path, (runner_keys, atlas_keys))
    yield made
    made.cancel()


def test_lines_are_printed_at_once_masked_and_printable_and_the_end_of_the_job_ends_it(
    installation: Installation,
) -> None:
    installation.submit(TALKS, init=Program(prints="cloned\n"))
    with installation.follow() as followed:
        assert followed.stdout is not None
        assert [followed.stdout.readline() for _ in range(4)] == ["cloned\n", "one\n", "token=***\n", "\ufffd[2Jtwo\n"]
        assert followed.poll() is None
        installation.cancel()
        _, headings = followed.communicate(timeout=30)
        assert (followed.returncode, headings) == (0, "==> coat <==\n==> marvin <==\n")


def test_an_interrupt_ends_it_quietly(installation: Installation) -> None:
    installation.submit(TALKS)
    with installation.follow() as followed:
        assert followed.stdout is not None
        assert followed.stdout.readline() == "one\n"
        followed.send_signal(signal.SIGINT)
        _, said = followed.communicate(timeout=10)
        assert (followed.returncode, said) == (-signal.SIGINT, "==> marvin <==\n")


def test_a_reader_that_leaves_early_ends_it_quietly(installation: Installation) -> None:
    installation.submit(Program(prints="one\n" * 20_000))
    with installation.follow() as followed:
        assert followed.stdout is not None
        assert followed.stdout.readline() == "one\n"
        followed.stdout.close()
        assert followed.wait(20) is not None
        assert followed.stderr is not None
        assert followed.stderr.read() == "==> marvin <==\n"


def test_a_container_and_a_number_of_lines_can_be_chosen(installation: Installation) -> None:
    installation.submit(Program(prints="one\ntwo\nthree\n"), init=Program(prints="cloned\n"))
    eventually(lambda: next(iter(installation.driver.list())).phase == "succeeded", "it ends")
    assert installation.logs().output == "one\ntwo\nthree\n"
    assert installation.logs("--lines", "2").output == "two\nthree\n"
    assert installation.logs("--container", "coat").output == "cloned\n"


def test_all_lines_or_the_last(installation: Installation) -> None:
    result = installation.logs("-f", "--lines", "3")
    assert result.exit_code == exit_codes.USAGE
    assert "leave --lines out" in result.output
