"""Jobs per second on real servers: the whole HTTP path, relative to a bare client that creates the same objects.

No job runs: Kubernetes Jobs are suspended, as for a queue, and Nomad jobs require a datacenter that does not exist. So
creation is measured, not the start of containers. The jobs stay until the end of the run, because a real cluster is not
empty either, and Nomad keeps a job for hours.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import jwt
import msgspec
import urllib3
import yaml

from runner.config.loading import parse
from runner.config.types import Config
from runner.drivers.kubernetes.manifest import job_manifest, secret_manifest
from runner.drivers.nomad.specification import specification
from runner.drivers.nomad.variable import open_items
from runner.jobs import JobSpec
from tests import cluster
from tests.bench import load, stack
from tests.bench.figures import Figure, signature_seconds
from tests.bench.large_analysis import large_analysis
from tests.conftest import KeyPair, make_key_pair
from tests.kubernetes.jobs import analysis
from tests.kubernetes.namespaces import Namespace
from tests.nomad.access import Nomad

CONNECTIONS = 32
SECONDS, ROUNDS = 2, 16
"""The two clients alternate in many short rounds, because a machine's speed may change by a third within seconds."""

QUIET_SECONDS = 0.5
"""If no job was accepted for so long, no request is in flight any more."""

POOL = "idle"

TOKEN_BYTES = 700
"""The length of a result token that is signed with a key of 2048 bits."""

Create = Callable[[str], None]
"""Creates the objects of one job under the given name, and nothing else."""

Compare = Callable[[str, Path, Mapping[str, Any], Create, str], Iterator[Figure]]
"""With a cluster's name, its sections of the configuration, a bare client, and atlas's token."""


def kubernetes(work: Path) -> Iterator[Figure]:
    """Jobs per second on a real API server, relative to a bare client; and the Orchestrator's CPU per job."""
    yield from _on_kubernetes(work, _compare)


def kubernetes_checks(work: Path) -> Iterator[Figure]:
    """The time for an analysis of 256 checks on a real API server, relative to a bare client."""
    yield from _on_kubernetes(work, _compare_checks)


def nomad(work: Path) -> Iterator[Figure]:
    """Jobs per second on a real Nomad, relative to a bare client; and the Orchestrator's CPU per job."""
    yield from _on_nomad(work, _compare)


def nomad_checks(work: Path) -> Iterator[Figure]:
    """The time for an analysis of 256 checks on a real Nomad, relative to a bare client."""
    yield from _on_nomad(work, _compare_checks)


def _on_kubernetes(work: Path, compare: Compare) -> Iterator[Figure]:
    access = _servers().kubernetes
    atlas = make_key_pair()
    sections = _sections(work, "kubernetes", atlas, {POOL: {"queueName": "nobody"}})
    namespace = Namespace.create(access, work, lambda **more: parse(yaml.safe_dump({**sections, **more}), {}))
    config = namespace.config()
    sections["kubernetes"] = {"namespace": namespace.name, "kubeconfig": config.cluster.kubeconfig}
    try:
        bare = _bare_kubernetes(namespace, config)
        yield from compare("Kubernetes", work, sections, bare, _token(atlas))
    finally:
        namespace.delete()


def _on_nomad(work: Path, compare: Compare) -> Iterator[Figure]:
    access = Nomad(_servers().nomad, work)
    atlas = make_key_pair()
    sections = _sections(work, "nomad", atlas, {POOL: {"datacenters": ["nowhere"]}})
    sections["nomad"] = {
        "address": access.access.url,
        "caFile": str(access.access.ca),
        "tokenFile": str(access.token_file),
        "namespace": access.namespace,
    }
    try:
        config = parse(yaml.safe_dump(sections), {})
        yield from compare("Nomad", work, sections, _bare_nomad(access, config), _token(atlas))
    finally:
        access.close()


def _servers() -> cluster.Cluster:
    if reason := cluster.missing():
        sys.exit(f"this measure needs the test cluster: {reason}")
    return cluster.up()


def _sections(work: Path, driver: str, atlas: KeyPair, pools: Mapping[str, object]) -> dict[str, Any]:
    return {
        "runner": {"id": "bench", "privateKey": make_key_pair().private},
        "deepsource": {"host": "http://127.0.0.1:9", "publicKey": atlas.public},
        # As many requests in flight as the bare client has. One process each, since the cluster shares the two cores.
        "http": {"bind": f"127.0.0.1:{stack.free_port()}", "workers": 1, "threads": CONNECTIONS},
        "sidecar": {"socket": str(work / f"{driver}.sock"), "workers": 1, "threads": CONNECTIONS},
        "tracker": {"intervalSeconds": 3600},  # listing thousands of jobs is not part of the measure
        "driver": driver,
        "pools": dict(pools),
    }


def _token(atlas: KeyPair) -> str:
    """atlas's bearer token, one for all requests. A new token per request would cost 0.15 ms to verify."""
    claims = {"exp": int(time.time()) + 3600, "runner_id": "bench"}
    return jwt.encode(claims, atlas.private, algorithm="RS256")


@contextmanager
def _up(name: str, work: Path, sections: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """The process id and the address of a running `up`."""
    path = work / f"{name}.yaml"
    path.write_text(yaml.safe_dump(dict(sections)))
    with stack.process((sys.executable, "-m", "runner", "up", "--config", str(path)), work / "log") as pid:
        root = f"http://{sections['http']['bind']}"
        stack.await_answer(f"{root}/readyz")
        yield pid, root


def _compare_checks(
    name: str, work: Path, sections: Mapping[str, Any], create: Create, _token: str
) -> Iterator[Figure]:
    with _up(name, work, sections):
        yield from large_analysis(name, Path(sections["sidecar"]["socket"]), POOL, create, CONNECTIONS)


def _compare(name: str, work: Path, sections: Mapping[str, Any], create: Create, token: str) -> Iterator[Figure]:
    with _up(name, work, sections) as (pid, root):
        made: list[int] = []

        def ours() -> float:
            command_log = _CommandLog(work / "log")
            url = f"{root}/tasks/analysis"
            load.requests_per_second(url, SECONDS, work, connections=CONNECTIONS, pool=POOL, token=token)
            count, rate = command_log.accepted()
            made.append(count)
            return rate

        def bare() -> float:
            return _bare_per_second(create)

        for measure in (ours, bare):  # warm up connections and caches
            measure()
        rates: dict[Callable[[], float], list[float]] = {ours: [], bare: []}
        made.clear()
        spent = {ours: 0.0, bare: 0.0}
        signatures = []
        for number in range(ROUNDS):
            # The order alternates, so that each client meets the cleanup work that the other one has left.
            for measure in (ours, bare) if number % 2 else (bare, ours):
                before, before_bare = stack.cpu_seconds(stack.tree(pid)), time.process_time()
                rates[measure].append(measure())
                spent[ours] += stack.cpu_seconds(stack.tree(pid)) - before
                spent[bare] += time.process_time() - before_bare if measure is bare else 0.0
            signatures.append(signature_seconds())
    ratio = sum(rates[ours]) / sum(rates[bare])
    note = f"{statistics.mean(rates[ours]):.0f} of {statistics.mean(rates[bare]):.0f} jobs/s"
    yield Figure(f"{name}, relative to the bare client", ratio, "", 0.85, at_least=True, note=note)
    per_job = spent[ours] / sum(made) - statistics.median(signatures)
    per_bare_job = spent[bare] / (sum(rates[bare]) * SECONDS)
    note = f"{per_job * 1000:.2f} ms of {per_bare_job * 1000:.2f} ms"
    name = f"{name}, CPU per job beside the signature, relative to the bare client"
    yield Figure(name, per_job / per_bare_job, "x", 2.5, note=note)


class _CommandLog:
    """The lines that the sidecar logs after this object was created.

    When wrk ends, it has one request in flight on each connection, and does not count those. The bare client ends after
    its last job. So accepted jobs are counted in the sidecar's log, until the last one is there.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._begin = log.stat().st_size
        self._began = time.time()

    def accepted(self) -> tuple[int, float]:
        """The number of accepted jobs, and jobs per second. Waits until no request is in flight."""
        known: list[float] = []
        while len(found := self._moments()) > len(known):
            known = found
            time.sleep(QUIET_SECONDS)
        return len(known), len(known) / (known[-1] - self._began)

    def _moments(self) -> list[float]:
        """When each job was accepted, in seconds since the epoch."""
        with self._log.open("rb") as log:
            log.seek(self._begin)
            lines = [line for line in log if b'"message":"accepted"' in line]
        return [datetime.fromisoformat(msgspec.json.decode(line)["time"]).timestamp() for line in lines]


def _bare_per_second(create: Create) -> float:
    until = time.monotonic() + SECONDS
    made: list[int] = []

    def create_until_the_end() -> None:
        count = 0
        while time.monotonic() < until:
            create(f"analysis-s0-{uuid.uuid4()}-1")
            count += 1
        made.append(count)

    threads = [threading.Thread(target=create_until_the_end) for _ in range(CONNECTIONS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(made) / (time.monotonic() - began)


def _template(config: Config) -> JobSpec:
    sample = msgspec.json.decode((stack.ROOT / "examples" / "analysis.json").read_bytes())
    return analysis(config, lambda _: sample, "bare", pool=POOL)


def _secrets(job: JobSpec) -> dict[str, str]:
    """Values for the job's secrets, as long as a result token, which is the longest real one."""
    return dict.fromkeys(job.secrets, "x" * TOKEN_BYTES)


def _bare_kubernetes(namespace: Namespace, config: Config) -> Create:
    template = _template(config)
    manifest = msgspec.json.encode(job_manifest(template, config, nonce="bare"))
    pool = urllib3.PoolManager(CONNECTIONS, maxsize=CONNECTIONS, ca_certs=str(namespace.access.ca))
    headers = {"Authorization": f"Bearer {namespace.token_file.read_text()}", "Content-Type": "application/json"}
    jobs = f"{namespace.access.url}/apis/batch/v1/namespaces/{namespace.name}/jobs"
    secrets = f"{namespace.access.url}/api/v1/namespaces/{namespace.name}/secrets"

    def create(name: str) -> None:
        body = manifest.replace(template.name.encode(), name.encode())
        uid = _accepted(pool.request("POST", jobs, body=body, headers=headers))["metadata"]["uid"]
        secret = secret_manifest(template, config, _secrets(template), name=f"{name}-bare", owner_uid=uid)
        _accepted(pool.request("POST", secrets, body=msgspec.json.encode(secret), headers=headers))

    return create


def _bare_nomad(access: Nomad, config: Config) -> Create:
    """Creates a Variable and the job that reads it."""
    template = _template(config)
    job = msgspec.json.encode(specification(template, config))
    items = msgspec.json.encode(open_items(template, _secrets(template), "bare"))
    pool = urllib3.PoolManager(CONNECTIONS, maxsize=CONNECTIONS, ca_certs=str(access.access.ca))
    headers = {"X-Nomad-Token": access.token_file.read_text(), "Content-Type": "application/json"}
    query = f"?namespace={access.namespace}"

    def create(name: str) -> None:
        path = f"nomad/jobs/{name}"
        variable = b'{"Path":"%s","Namespace":"%s","Items":%s}' % (path.encode(), access.namespace.encode(), items)
        _accepted(pool.request("PUT", f"{access.access.url}/v1/var/{path}{query}", body=variable, headers=headers))
        named = job.replace(template.name.encode(), name.encode())
        body = b'{"Job":%s,"EnforceIndex":true,"JobModifyIndex":0}' % named
        _accepted(pool.request("POST", f"{access.access.url}/v1/jobs{query}", body=body, headers=headers))

    return create


def _accepted(answer: urllib3.BaseHTTPResponse) -> Any:
    if not 200 <= answer.status < 300:
        raise RuntimeError(f"the bare client was refused: {answer.status} {answer.data[:300]!r}")
    return msgspec.json.decode(answer.data)
