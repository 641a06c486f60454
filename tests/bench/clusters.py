"""Jobs a second on real servers: through the whole HTTP path, against a bare client that creates the same objects.

Nothing of it runs: Kubernetes' Jobs are suspended, as a queue would have them, and Nomad's ask for a datacenter that
there is not. So what is measured are creations, and not how fast one machine starts containers.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import urllib3
import yaml

from runner.config import parse
from runner.drivers.kubernetes_manifest import job_manifest, secret_manifest
from runner.drivers.nomad_specification import specification
from runner.jobs import JobSpec
from runner.settings import Config
from tests import cluster
from tests.bench import load, stack
from tests.bench.figures import Figure
from tests.conftest import make_key_pair
from tests.kubernetes.jobs import analysis
from tests.kubernetes.namespaces import Namespace, unseal
from tests.nomad.access import Nomad

CONNECTIONS = 32
SECONDS = 6
ROUNDS = 3
POOL = "idle"

Create = Callable[[str], None]
"""Creates the objects of one job under that name, and does nothing else."""


def kubernetes(work: Path) -> Iterator[Figure]:
    """Jobs accepted a second by a real API server, against a bare client; and what we ourselves cost."""
    access = _servers().kubernetes
    sections = _sections(work, "kubernetes", {POOL: {"queueName": "nobody"}})
    namespace = Namespace.create(access, work, lambda **more: parse(yaml.safe_dump({**sections, **more}), {}))
    config = namespace.config()
    sections["kubernetes"] = {"namespace": namespace.name, "kubeconfig": config.cluster.kubeconfig}
    try:
        yield from _compare("Kubernetes", work, sections, _bare_kubernetes(namespace, config))
    finally:
        namespace.delete()


def nomad(work: Path) -> Iterator[Figure]:
    """Jobs accepted a second by a real Nomad, against a bare client; and what we ourselves cost."""
    access = Nomad(_servers().nomad, work)
    sections = _sections(work, "nomad", {POOL: {"datacenters": ["nowhere"]}})
    sections["nomad"] = {
        "address": access.access.url,
        "caFile": str(access.access.ca),
        "tokenFile": str(access.token_file),
        "namespace": access.namespace,
    }
    try:
        config = parse(yaml.safe_dump(sections), {})
        yield from _compare("Nomad", work, sections, _bare_nomad(access, config))
    finally:
        access.close()


def _servers() -> cluster.Cluster:
    if reason := cluster.missing():
        sys.exit(f"this measure needs the test cluster: {reason}")
    return cluster.up()


def _sections(work: Path, driver: str, pools: Mapping[str, object]) -> dict[str, Any]:
    return {
        "runner": {"id": "bench", "privateKey": make_key_pair().private},
        "deepsource": {"host": "http://127.0.0.1:9", "publicKey": make_key_pair().public},
        "http": {"bind": f"127.0.0.1:{stack.free_port()}", "allowUnauthenticated": True, "threads": 16},
        "sidecar": {"socket": str(work / f"{driver}.sock")},
        "tracker": {"intervalSeconds": 3600},  # listing thousands of jobs is no part of accepting one
        "driver": driver,
        "pools": dict(pools),
    }


def _compare(name: str, work: Path, sections: Mapping[str, Any], create: Create) -> Iterator[Figure]:
    path = work / f"{name}.yaml"
    path.write_text(yaml.safe_dump(dict(sections)))
    ratios, ours, cost = [], [], []
    with stack.process((sys.executable, "-m", "runner", "up", "--config", str(path)), work / "log") as pid:
        root = f"http://{sections['http']['bind']}"
        stack.await_answer(f"{root}/readyz")
        _accepted_per_second(f"{root}/tasks/analysis", 2, work)
        for _ in range(ROUNDS):
            bare = _bare_per_second(create)
            before = stack.cpu_seconds(stack.tree(pid))
            ours.append(_accepted_per_second(f"{root}/tasks/analysis", SECONDS, work))
            cost.append((stack.cpu_seconds(stack.tree(pid)) - before) / (ours[-1] * SECONDS) * 1000)
            ratios.append(ours[-1] / bare)
    note = f"{statistics.median(ours):.0f} jobs/s"
    yield Figure(
        f"{name}, whole path against bare client", statistics.median(ratios), "", 0.8, at_least=True, note=note
    )
    yield Figure(f"{name}, our CPU for each job", statistics.median(cost), "ms", 2.5)


def _accepted_per_second(url: str, seconds: int, work: Path) -> float:
    return load.requests_per_second(url, seconds, work, connections=CONNECTIONS, pool=POOL)


def _bare_per_second(create: Create) -> float:
    until = time.monotonic() + SECONDS
    made: list[int] = []

    def go_on() -> None:
        count = 0
        while time.monotonic() < until:
            create(f"analysis-s0-{uuid.uuid4()}-1")
            count += 1
        made.append(count)

    threads = [threading.Thread(target=go_on) for _ in range(CONNECTIONS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(made) / (time.monotonic() - began)


def _template(config: Config) -> JobSpec:
    sample = msgspec.json.decode((stack.ROOT / "examples" / "analysis.json").read_bytes())
    return analysis(config, lambda _: sample, "bare", pool=POOL)


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
        secret = secret_manifest(template, config, unseal(template), name=f"{name}-bare", owner_uid=uid)
        _accepted(pool.request("POST", secrets, body=msgspec.json.encode(secret), headers=headers))

    return create


def _bare_nomad(access: Nomad, config: Config) -> Create:
    """The Variable, and the job that reads it."""
    template = _template(config)
    job = msgspec.json.encode(specification(template, config))
    items = msgspec.json.encode(unseal(template))
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
