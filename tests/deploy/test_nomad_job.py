"""deploy/nomad/orchestrator.nomad.hcl on a real Nomad, with the image that deploy/Dockerfile makes."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import urllib3
import yaml

from runner import __version__
from tests import cluster
from tests.conftest import ROOT, KeyPair
from tests.deploy import image
from tests.kubernetes.jobs import until
from tests.nomad.access import Nomad
from tests.recorder.deliveries import Atlas, recording_atlas

pytestmark = pytest.mark.timeout(400)
JOB = ROOT / "deploy" / "nomad" / "orchestrator.nomad.hcl"
PLANNED = 1
"""`nomad job plan` ends with it where allocations would be created or destroyed."""


class Running(msgspec.Struct):
    """The job, running in a namespace of its own. `jobs` is the namespace of the jobs that it makes."""

    jobs: Nomad
    namespace: str
    work: Path
    reference: str
    config: dict[str, Any]

    def nomad(self, *arguments: str | Path, stdin: str = "", expected: int = 0) -> str:
        """The output of the command line, as the administrator."""
        access = self.jobs.access
        own = {"NOMAD_ADDR": access.url, "NOMAD_CACERT": str(access.ca), "NOMAD_TOKEN": access.token}
        environment = {**os.environ, **own, "NOMAD_NAMESPACE": self.namespace}
        command = [str(access.nomad), *map(str, arguments)]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == expected, (arguments, done.stdout + done.stderr)
        return done.stdout

    def job(self, *command: str, expected: int = 0, **changed: Any) -> str:
        """`nomad job COMMAND` of the file, with the configuration and these sections."""
        path = self.work / "orchestrator.yaml"
        path.write_text(yaml.safe_dump({**self.config, **changed}))
        variables = {"image": self.reference, "config": path, "nomad_ca": self.jobs.access.ca}
        options = [f"-var={name}={value}" for name, value in variables.items()]
        return self.nomad("job", *command, *options, JOB, expected=expected)

    def allocations(self) -> set[str]:
        """The ids of those that run and are to."""
        listed = json.loads(self.nomad("job", "allocs", "-json", "orchestrator"))
        return {each["ID"] for each in listed if (each["DesiredStatus"], each["ClientStatus"]) == ("run", "running")}

    def spec(self) -> str:
        """The configuration in the job that Nomad has."""
        group = json.loads(self.nomad("job", "inspect", "orchestrator"))["Job"]["TaskGroups"][0]
        (runner,) = (task for task in group["Tasks"] if task["Name"] == "runner")
        return str(runner["Templates"][0]["EmbeddedTmpl"])

    def urls(self) -> list[str]:
        """Where the service has its replicas."""
        found = json.loads(self.nomad("service", "info", "-json", "orchestrator"))
        return [f"http://{each['Address']}:{each['Port']}" for each in found]


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Atlas]:
    with recording_atlas(tmp_path_factory.mktemp("atlas")) as recording:
        yield recording


@pytest.fixture(scope="module")
def running(
    real_servers: cluster.Cluster,
    atlas: Atlas,
    tmp_path_factory: pytest.TempPathFactory,
    runner_keys: KeyPair,
    atlas_keys: KeyPair,
) -> Iterator[Running]:
    work = tmp_path_factory.mktemp("nomad")
    jobs = Nomad(real_servers.nomad, work)
    config = {
        "runner": {"id": "runner-1"},
        "deepsource": {"host": atlas.url},
        "limits": {"imageSeconds": 1},
        "http": {"workers": 1},
        "sidecar": {"workers": 1},
        "nomad": {"address": real_servers.nomad.url, "namespace": jobs.namespace, "coreMhz": 100},
    }
    made = Running(jobs, f"{jobs.namespace}-own", work, image.built(), config)
    made.nomad("namespace", "apply", made.namespace)
    rules = (ROOT / "deploy" / "nomad" / "policy.hcl").read_text().replace('"default"', f'"{jobs.namespace}"')
    policy = ("-namespace", made.namespace, "-job", "orchestrator", made.namespace, "-")
    made.nomad("acl", "policy", "apply", *policy, stdin=rules)
    keys = {"ORCHESTRATOR_PRIVATE_KEY": runner_keys.private, "ORCHESTRATOR_PUBLIC_KEY": atlas_keys.public}
    variable = {"Path": "nomad/jobs/orchestrator", "Items": keys}
    made.nomad("var", "put", "-in=json", "-", stdin=json.dumps(variable))
    try:
        made.job("run")
        yield made
    finally:
        made.nomad("job", "stop", "-purge", "orchestrator")
        made.nomad("var", "purge", "nomad/jobs/orchestrator")
        made.nomad("acl", "policy", "delete", made.namespace)
        jobs.close()


def test_the_file_is_valid_and_starts_two_replicas(running: Running) -> None:
    assert "successful" in running.job("validate")
    assert len(running.allocations()) == len(running.urls()) == 2
    assert running.job("plan", expected=PLANNED, http={"workers": 2})
    for _ in range(5):  # Nomad evaluates a file's locals in any order
        running.job("plan")


def test_a_request_makes_a_job_whose_end_is_reported(
    running: Running, atlas: Atlas, sample: Callable[[str], dict[str, Any]], token: Callable[..., str]
) -> None:
    headers = {"Authorization": f"Bearer {token()}", "Content-Type": "application/json"}
    answers = [
        urllib3.request(
            "POST", f"{url}/tasks/analysis", body=json.dumps(sample("analysis")), headers=headers, timeout=20
        )
        for url in running.urls()
    ]
    assert [each.status for each in answers] == [201, 200], [each.data for each in answers]
    names = {each["name"] for each in answers[0].json()["jobs"]}
    assert names == {each["ID"] for each in running.jobs.get("jobs")}
    until(atlas.accepted, seconds=90, what="the report of the job's end")
    assert [each.code for each in atlas.accepted()] == [5101]  # its images are in no registry


def test_only_the_runner_has_the_keys_and_the_token(running: Running, runner_keys: KeyPair) -> None:
    (allocation, *_) = running.allocations()
    line = runner_keys.private.splitlines()[1]
    script = "import os; print(os.environ.get('ORCHESTRATOR_PRIVATE_KEY'), os.listdir('/secrets'), os.getuid())"
    runner, functions = (
        running.nomad("alloc", "exec", "-i=false", "-task", task, allocation, "python", "-c", script)
        for task in ("runner", "functions")
    )
    assert line in runner
    assert "nomad_token" in runner
    assert functions.split() == ["None", "['.nomad-mount']", "1000"]
    assert line not in running.nomad("job", "inspect", "orchestrator")


def test_everything_that_it_needs_is_reachable_and_allowed(running: Running) -> None:
    (allocation, *_) = running.allocations()
    check = ("python", "-m", "runner", "check-config", "--connect")
    found = running.nomad("alloc", "exec", "-i=false", "-task", "runner", allocation, *check)
    assert f"the token is the job's workload identity, with {running.namespace}" in found


def test_only_a_changed_configuration_replaces_the_replicas(running: Running) -> None:
    before = running.allocations()
    running.job("run")
    assert running.allocations() == before
    running.job("run", log={"level": "debug"})
    after = running.allocations()
    assert len(after) == 2
    assert not before & after


def test_a_wrong_configuration_is_taken_back(running: Running) -> None:
    before, allocations = running.spec(), running.allocations()
    running.job("run", "-detach", limits={"x": 1})
    assert '"limits"' in running.spec()
    until(lambda: running.spec() == before, seconds=120, what="the earlier configuration")
    until(lambda: running.allocations() == allocations, what="the same replicas")


def test_the_runner_ends_after_the_functions(running: Running) -> None:
    (allocation, *_) = running.allocations()
    running.nomad("alloc", "stop", "-detach", allocation)

    def ends() -> list[str]:
        states = json.loads(running.nomad("alloc", "status", "-json", allocation))["TaskStates"]
        return [states[task]["FinishedAt"] or "" for task in ("functions", "runner")]

    until(lambda: all(ends()), what="the end of both tasks")
    assert ends() == sorted(ends())


def test_it_names_this_version() -> None:
    assert set(re.findall(r"orchestrator:(\d\S+)", JOB.read_text())) == {__version__}
