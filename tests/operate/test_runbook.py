"""Every command of docs/operate.md runs, and prints what the document shows, where `…` stands for any text.

One installation on this host has a job that runs, one that waits, one whose result is pending, and one set aside. The
sections about a cluster or the broker run against the real ones.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from examples.broker import SBIN, Broker
from runner import composition
from runner.cli import jobs
from runner.cli.known import UNEXPLAINED_SECONDS
from runner.config.loading import parse
from runner.drivers.driver import Driver
from runner.observation import Outcome
from tests import cluster
from tests.conformance.jobs import Program, job
from tests.conftest import ROOT, KeyPair
from tests.harness.deadlines import within
from tests.harness.processes import Processes, eventually, free_port
from tests.kubernetes.namespaces import Namespace
from tests.nomad.access import Nomad
from tests.operate.test_connect import _leading
from tests.protocols.conftest import broker
from tests.recorder.deliveries import recording_atlas

__all__ = ["broker"]  # the fixture of that suite

TEXT = (ROOT / "docs" / "operate.md").read_text()
ALERTS = {"tracker-stale", "results-pending", "results-set-aside", "outcomes-jumping", "refusals", "no-leader"}

TESTED_ELSEWHERE = {"resend"}
"""Commands of `jobs` that the text names, and whose tests stand elsewhere."""

MAY_FAIL = ("python -m runner check-config --connect",)
"""A check that fails is what some sections show."""


class Step(msgspec.Struct, frozen=True):
    """A command of a section, and the lines that the document shows of its output."""

    section: str
    command: str
    shown: tuple[str, ...]


def steps() -> Iterator[Step]:
    for part in re.split(r"^## ", TEXT, flags=re.M):
        anchor = re.match(r'<a id="([a-z-]+)">', part)
        for block in re.findall(r"^```console\n(.*?)^```$", part, re.M | re.S):
            for command in re.split(r"^\$ ", block, flags=re.M)[1:]:
                first, *rest = command.splitlines()
                yield Step(
                    anchor[1] if anchor else "first", first, tuple(line.strip() for line in rest if line.strip())
                )


STEPS = list(steps())


class Place(msgspec.Struct):
    """Where a section's commands run: what stands for the document's names, and the environment."""

    environment: Mapping[str, str]
    names: Mapping[str, str]
    directory: Path

    def named(self, text: str) -> str:
        for name, here in self.names.items():
            text = text.replace(name, here)
        return text

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        with (self.directory / "output").open("w+") as output:
            line = ["bash", "-c", self.named(command)]
            environment = {**os.environ, **self.environment}
            done = subprocess.run(
                line, env=environment, cwd=self.directory, stdout=output, stderr=output, timeout=40, check=False
            )
            output.seek(0)
            return subprocess.CompletedProcess(line, done.returncode, output.read())

    def check(self, step: Step) -> None:
        """Run it, and compare. What only reads is repeated: a busy cluster or a tracker that starts takes a while."""
        done, absent = self._compared(step)
        tries = 20 if step.command.startswith("cat ") else 1 if step.command.startswith(MAY_FAIL) else 0
        while absent and tries:
            tries -= 1
            time.sleep(0.5)
            done, absent = self._compared(step)
        assert done.returncode == 0 or step.command.startswith(MAY_FAIL), done.stdout
        assert not absent, f"{absent}\n{done.stdout}"

    def _compared(self, step: Step) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        """The command's end, and the lines that the document shows and it has not printed."""
        done = self.run(step.command)
        printed = [" ".join(line.split()) for line in done.stdout.splitlines()]
        patterns = {wanted: _pattern(self.named(wanted)) for wanted in step.shown}
        return done, [wanted for wanted, each in patterns.items() if not any(map(each.fullmatch, printed))]


def _pattern(shown: str) -> re.Pattern[str]:
    """`…` is any text; a line of JSON may go on with a comma."""
    return re.compile(".*".join(map(re.escape, " ".join(shown.split()).split("…"))) + ",?")


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for PATH, with our python."""
    directory = tmp_path_factory.mktemp("tools")
    _script(directory / "python", f'exec {sys.executable} "$@"')
    return directory


def _script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def _environment(tools: Path, config: Path, **more: str) -> dict[str, str]:
    path = f"{tools}:{os.environ['PATH']}"
    return {"PATH": path, "PYTHONPATH": str(ROOT), "ORCHESTRATOR_CONFIG": str(config), **more}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, runner_keys: KeyPair, atlas_keys: KeyPair) -> Callable[..., Path]:
    """Writes a configuration in a directory of its own."""

    def write(host: str, **sections: Any) -> Path:
        directory = tmp_path_factory.mktemp("installation")
        document = {
            "runner": {"id": "runner-1", "privateKey": runner_keys.private},
            "deepsource": {"host": host, "publicKey": atlas_keys.public},
            "sidecar": {"socket": str(directory / "runner.sock"), "workers": 1},
            **sections,
        }
        path = directory / "orchestrator.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    return write


@pytest.fixture(scope="module")
def host(written: Callable[..., Path], tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """`up` on this host, with an atlas that accepts nothing from now on, and its four jobs."""
    directory, port = tmp_path_factory.mktemp("host"), free_port()
    processes = Processes(directory)
    with recording_atlas(directory) as atlas:
        local = {"directory": str(directory / "jobs"), "parallelism": 1, "images": {"*": {}}}
        config = written(
            atlas.url, driver="local", local=local, http={"bind": f"127.0.0.1:{port}"}, pools={"plan-a": {}}
        )
        up = processes.python("-m", "runner", "up", "--config", str(config))
        names = {
            "/run/orchestrator": str(config.parent),
            "/var/lib/orchestrator/jobs": local["directory"],
            "http://127.0.0.1:8080": f"http://127.0.0.1:{port}",
            "'runner up'": shlex.quote(f"runner up --config {config}"),
        }
        place = Place(_environment(tools, config), names, directory)
        try:
            eventually(lambda: "this process leads" in up.said(), "the tracker leads", 30)
            eventually(lambda: place.run("curl -sf http://127.0.0.1:8080/readyz").returncode == 0, "HTTP is ready", 30)
            yield place, atlas
        finally:
            place.run("for name in $(python -m runner jobs list -o name); do python -m runner jobs cancel $name; done")
            processes.end()


def _driver(config: Path) -> Driver:
    return composition.drivers(parse(config.read_text(), {}))["local"]


def _make_jobs(place: Place) -> None:
    driver = _driver(Path(place.environment["ORCHESTRATOR_CONFIG"]))
    seen = lambda: {each.name: each for each in driver.list()}  # noqa: E731
    failing = Program(prints="boom\n", exit_code=3)
    for name in ("analysis-90be-1", "analysis-1f6a-1"):
        driver.submit(job("marvin", failing, name=name), within(5))
        eventually(lambda name=name: seen()[name].phase == "failed", "it has failed")  # type: ignore[misc]
    outcome = Outcome(reason="analyzer_failed", code=5107, hmessage="The analyzer ended with an error.")
    assert driver.set_aside(seen()["analysis-90be-1"], outcome)
    driver.submit(job("marvin", Program(prints="still working\n", endless=True), name="analysis-2c41-1"), within(5))
    eventually(lambda: seen()["analysis-2c41-1"].phase == "running", "it runs")
    driver.submit(job("marvin", name="analysis-77d0-1"), within(5))
    time.sleep(UNEXPLAINED_SECONDS + 0.5)  # then it is looked up why it waits; the health file is renewed each second


def _steps(*sections: str) -> list[Step]:
    return [each for each in STEPS if each.section in sections]


def test_on_this_host(host: Any) -> None:
    """In the document's order. Cancelling is the last step of its section, and the job waits to be ended until then."""
    place, atlas = host
    for step in _steps("first"):
        place.check(step)
    atlas.behave("refuse")
    _make_jobs(place)
    sections = ("job-waits", "results-pending", "results-set-aside", "outcomes-jumping", "refusals", "disk-full")
    for step in _steps(*sections, "run-hangs", "rotate-a-key"):
        place.check(step)
    eventually(lambda: place.run("curl -sf http://127.0.0.1:8080/readyz").returncode == 0, "it serves after SIGHUP", 20)


@pytest.fixture
def kubernetes(
    real_servers: cluster.Cluster,
    written: Callable[..., Path],
    tools: Path,
    tmp_path: Path,
    make_config: Any,
    host: Any,
) -> Iterator[tuple[Place, Namespace]]:
    namespace = Namespace.create(real_servers.kubernetes, tmp_path, make_config)
    kubernetes = {"namespace": namespace.name, "kubeconfig": str(namespace.kubeconfig())}
    config = written(host[1].url, driver="kubernetes", kubernetes=kubernetes)
    environment = _environment(tools, config, KUBECONFIG=str(real_servers.kubernetes.kubeconfig))
    environment["PATH"] = f"{real_servers.kubernetes.kubectl.parent}:{environment['PATH']}"
    names = {
        "--namespace analysis": f"--namespace {namespace.name}",
        "namespace analysis": f"namespace {namespace.name}",
        "serviceaccount:analysis:": f"serviceaccount:{namespace.name}:",
        "Lease analysis/": f"Lease {namespace.name}/",
        "host-a-": "host-1-",
        "/run/orchestrator/runner.sock": f"{Path(host[0].environment['ORCHESTRATOR_CONFIG']).parent}/runner.sock",
    }
    yield Place(environment, names, tmp_path), namespace
    namespace.delete()


def test_on_kubernetes_with_a_leader(kubernetes: tuple[Place, Namespace]) -> None:
    place, namespace = kubernetes
    with _leading(namespace):
        for step in _steps("tracker-stale", "two-trackers", "api-server-slow"):
            place.check(step)


def test_on_kubernetes_without_a_leader(kubernetes: tuple[Place, Namespace]) -> None:
    place, namespace = kubernetes
    namespace.driver().election().write("host-1-2-3", "", within(5))  # type: ignore[union-attr]
    for step in _steps("no-leader"):
        if not step.command.startswith("nomad"):
            place.check(step)


def test_on_nomad(real_servers: cluster.Cluster, tools: Path, tmp_path: Path) -> None:
    nomad = Nomad(real_servers.nomad, tmp_path)
    nomad.put("var/orchestrator/tracker", {"Path": "orchestrator/tracker", "Items": {"holder": "host-1-2-3"}})
    access = {"NOMAD_ADDR": nomad.access.url, "NOMAD_CACERT": str(nomad.access.ca), "NOMAD_TOKEN": nomad.access.token}
    environment = _environment(tools, tmp_path / "none", **access)
    environment["PATH"] = f"{Path(nomad.access.nomad).parent}:{environment['PATH']}"
    place = Place(environment, {"-namespace analysis": f"-namespace {nomad.namespace}"}, tmp_path)
    with ExitStack() as stack:
        stack.callback(nomad.close)
        for step in _steps("no-leader"):
            if step.command.startswith("nomad"):
                place.check(step)


def test_with_a_broker(broker: Broker, written: Callable[..., Path], tools: Path, host: Any, tmp_path: Path) -> None:
    environment = broker._environment()
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items() if "RABBITMQ" in name)
    own = {name: environment[name] for name in ("HOME", "ERL_EPMD_ADDRESS", "ERL_EPMD_PORT")}
    settings += "".join(f" {name}={shlex.quote(value)}" for name, value in own.items())
    _script(tmp_path / "rabbitmqctl", f'exec env {settings} {SBIN}/rabbitmqctl --node {broker._node} "$@"')
    config = written(host[1].url, driver="memory", protocols=["amqp"])
    down, up, *rest = _steps("broker-down")
    for url, chosen in ((f"amqp://a:b@127.0.0.1:{free_port()}/", [down]), (broker.url, [up, *rest])):
        found = _environment(tools, config, ORCHESTRATOR_AMQP_URL=url)
        found["PATH"] = f"{tmp_path}:{found['PATH']}"
        for step in chosen:
            Place(found, {}, tmp_path).check(step)


def test_every_command_belongs_to_one_of_the_tests_above() -> None:
    tested = {
        "first", "job-waits", "results-pending", "results-set-aside", "outcomes-jumping", "refusals", "disk-full",
        "run-hangs", "rotate-a-key", "tracker-stale", "two-trackers", "api-server-slow", "no-leader", "broker-down",
    }  # fmt: skip
    assert {each.section for each in STEPS} == tested
    assert len(STEPS) > 30


def test_a_command_that_the_text_names_exists() -> None:
    assert set(re.findall(r"`jobs ([a-z]+)", TEXT)) <= set(jobs.commands) | TESTED_ELSEWHERE


def test_alerts_and_the_table_of_symptoms_lead_to_sections() -> None:
    anchors = set(re.findall(r'<a id="([a-z-]+)">', TEXT))
    assert ALERTS | set(re.findall(r"\]\(#([a-z-]+)\)", TEXT)) <= anchors


@pytest.mark.parametrize("text", ["was not read for", "a request was refused"])
def test_a_line_of_the_log_that_is_quoted_exists(text: str) -> None:
    assert text in TEXT
    sources = "".join(path.read_text() for name in ("runner", "functions") for path in (ROOT / name).rglob("*.py"))
    assert text in sources
