"""One Orchestrator with a pool on each cluster, the example atlas, and a repository that jobs can reach."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.atlas.application import application
from examples.atlas.clients.http import HttpClient
from examples.atlas.runs import Run, Runs
from examples.atlas.server import serving
from examples.atlas.tokens import Verifier, signer
from runner.config.loading import parse
from tests import cluster
from tests.acceptance import images
from tests.acceptance.registry import registry
from tests.acceptance.remotes import PASSWORD, USER, Repository, SshKey, make_repository, ssh_server
from tests.bench import stack
from tests.conftest import KeyPair
from tests.examples.git_server import git_server
from tests.kubernetes.namespaces import Namespace
from tests.nomad.access import Nomad

RUNNER_ID = "acceptance"
TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class Environment:
    """What a test uses: an HTTP client of the Orchestrator, atlas's runs, the repository and both clusters."""

    orchestrator: HttpClient
    runs: Runs
    repository: Repository
    http_url: str
    ssh_url: str
    key: SshKey
    namespace: Namespace
    nomad: Nomad

    def send(self, kind: str, document: dict[str, Any]) -> list[dict[str, str]]:
        return self.orchestrator.send(kind, document, TIMEOUT_SECONDS, lambda *_: None)

    def result(self, run_id: str) -> dict[str, Any]:
        """Wait for the run's result. Returns its kwargs. atlas has verified the token of the result."""
        until = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < until:
            run = self.runs.get(run_id)
            if run is not None and run.results:
                return _checked(run, self.runs)
            time.sleep(0.2)
        raise AssertionError(f"no result of {run_id} within {TIMEOUT_SECONDS} s: {self.runs.deliveries()}")


def _checked(run: Run, runs: Runs) -> dict[str, Any]:
    delivered = [each for each in runs.deliveries() if each.run_id == run.run_id]
    assert {each.status for each in delivered} <= {200, 201}, delivered
    return run.results[0].kwargs


@pytest.fixture(scope="session")
def environment(
    real_servers: cluster.Cluster,
    tmp_path_factory: pytest.TempPathFactory,
    runner_keys: KeyPair,
    atlas_keys: KeyPair,
) -> Iterator[Environment]:
    work = tmp_path_factory.mktemp("acceptance")
    host = real_servers.kubernetes.host
    repository = make_repository(work)
    key = SshKey.make(work / "key")
    runs = Runs()
    nomad = Nomad(real_servers.nomad, work)
    namespace = Namespace.create(real_servers.kubernetes, work, lambda **_: parse("{}", {}))
    built = images.build()
    with (
        registry(built) as registry_host,
        serving(application(runs, Verifier(runner_keys.public, RUNNER_ID)), host) as atlas_url,
        git_server(work, USER, PASSWORD, lambda _: None, host=host) as git,
        ssh_server(host, work / "sshd", key) as ssh_port,
    ):
        images.load(built, registry_host)
        port = stack.free_port()
        path = work / "orchestrator.yaml"
        path.write_text(
            yaml.safe_dump(_document(work, port, atlas_url, registry_host, namespace, nomad, runner_keys, atlas_keys))
        )
        with stack.process((sys.executable, "-m", "runner", "up", "--config", str(path)), work / "log"):
            url = f"http://127.0.0.1:{port}"
            stack.await_answer(f"{url}/readyz")
            yield Environment(
                orchestrator=HttpClient(url, signer(atlas_keys.private, RUNNER_ID)),
                runs=runs,
                repository=repository,
                http_url=f"http://{USER}:{PASSWORD}@{git}/shop.git",
                ssh_url=f"ssh://root@{host}:{ssh_port}{repository.path}",
                key=key,
                namespace=namespace,
                nomad=nomad,
            )
    namespace.delete()
    nomad.close()


def _document(
    work: Path,
    port: int,
    atlas_url: str,
    registry_host: str,
    namespace: Namespace,
    nomad: Nomad,
    runner_keys: KeyPair,
    atlas_keys: KeyPair,
) -> dict[str, Any]:
    return {
        "runner": {"id": RUNNER_ID, "privateKey": runner_keys.private},
        "deepsource": {"host": atlas_url, "publicKey": atlas_keys.public},
        "http": {"bind": f"127.0.0.1:{port}"},
        "sidecar": {"socket": str(work / "runner.sock")},
        "objectStorage": {"provider": "http", "bucket": f"{atlas_url}/snippets"},
        "kubernetes": {
            "namespace": namespace.name,
            "kubeconfig": str(namespace.kubeconfig()),
            "imageRegistry": {"registryUrl": f"{registry_host}/{images.PATH}", "pullPolicy": "Never"},
        },
        "nomad": {
            "address": nomad.access.url,
            "caFile": str(nomad.access.ca),
            "tokenFile": str(nomad.token_file),
            "namespace": nomad.namespace,
        },
        "pools": {"plan-pf": {"driver": "kubernetes"}, "plan-nomad": {"driver": "nomad"}},
        "defaultPool": "plan-pf",
    }


@pytest.fixture(params=["kubernetes", "nomad"])
def driver(request: pytest.FixtureRequest) -> str:
    """The driver of the test's pool."""
    return str(request.param)


@pytest.fixture
def document(
    environment: Environment, sample: Callable[[str], dict[str, Any]], driver: str
) -> Callable[[str], dict[str, Any]]:
    """Makes a sample payload for the repository and the driver's pool, with a new run id."""

    def make(kind: str) -> dict[str, Any]:
        payload = {**sample(kind), "run_id": uuid.uuid4().hex}
        payload["_meta"] = {"resource_pool": {"kubernetes": "plan-pf", "nomad": "plan-nomad"}[driver]}
        payload["vcs_meta"] |= {
            "remote_url": environment.http_url,
            "checkout_oid": environment.repository.head,
            "base_branch": "main",
        }
        return payload

    return make
