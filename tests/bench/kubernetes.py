"""Jobs a second on a real API server: through the whole HTTP path, against a bare client that creates the same objects.

The Jobs are suspended, as a queue would have them, so that what is measured are creations and not pods.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import urllib3
import yaml

from runner.config import parse
from runner.drivers.kubernetes_manifest import job_manifest, secret_manifest
from runner.jobs import JobSpec
from runner.settings import Config
from tests import cluster
from tests.bench import load, stack
from tests.bench.figures import Figure
from tests.conftest import make_key_pair
from tests.kubernetes.jobs import analysis
from tests.kubernetes.namespaces import Namespace, unseal

CONNECTIONS = 32
SECONDS = 6
ROUNDS = 3
POOL = "queued"


def measure(work: Path) -> Iterator[Figure]:
    """Jobs accepted a second by a real API server, against a bare client; and what we ourselves cost."""
    if reason := cluster.missing():
        sys.exit(f"this measure needs the test cluster: {reason}")
    access = cluster.up().kubernetes
    port = stack.free_port()
    sections = _sections(work, port)
    namespace = Namespace.create(access, work, lambda **more: parse(yaml.safe_dump({**sections, **more}), {}))
    config = namespace.config()
    path = work / "kubernetes.yaml"
    kubernetes = {"namespace": config.cluster.namespace, "kubeconfig": config.cluster.kubeconfig}
    path.write_text(yaml.safe_dump({**sections, "driver": "kubernetes", "kubernetes": kubernetes}))
    bare, ours, cost = [], [], []
    try:
        with stack.process((sys.executable, "-m", "runner", "up", "--config", str(path)), work / "log") as pid:
            stack.await_answer(f"http://127.0.0.1:{port}/readyz")
            url = f"http://127.0.0.1:{port}/tasks/analysis"
            load.requests_per_second(url, 2, work, connections=CONNECTIONS, pool=POOL)
            for _ in range(ROUNDS):
                bare.append(_bare_jobs_per_second(namespace, config))
                before = stack.cpu_seconds(stack.tree(pid))
                ours.append(load.requests_per_second(url, SECONDS, work, connections=CONNECTIONS, pool=POOL))
                cost.append((stack.cpu_seconds(stack.tree(pid)) - before) / (ours[-1] * SECONDS) * 1000)
    finally:
        namespace.delete()
    middle = statistics.median(ours), statistics.median(bare)
    note = f"{middle[0]:.0f} of {middle[1]:.0f} jobs/s"
    yield Figure("Kubernetes, whole path against bare client", middle[0] / middle[1], "", 0.8, at_least=True, note=note)
    yield Figure("Kubernetes, our CPU for each job", statistics.median(cost), "ms", 2.5)


def _sections(work: Path, port: int) -> dict[str, object]:
    return {
        "runner": {"id": "bench", "privateKey": make_key_pair().private},
        "deepsource": {"host": "http://127.0.0.1:9", "publicKey": make_key_pair().public},
        "http": {"bind": f"127.0.0.1:{port}", "allowUnauthenticated": True, "threads": 16},
        "sidecar": {"socket": str(work / "kubernetes.sock")},
        "pools": {POOL: {"queueName": "nobody"}},
    }


def _bare_jobs_per_second(namespace: Namespace, config: Config) -> float:
    """Threads that send ready-made Jobs and their Secrets, and do nothing else."""
    template = analysis(
        config, lambda _: msgspec.json.decode((stack.ROOT / "examples/analysis.json").read_bytes()), "bare"
    )
    manifest = msgspec.json.encode(job_manifest(msgspec.structs.replace(template, pool=POOL), config, nonce="bare"))
    pool = urllib3.PoolManager(CONNECTIONS, maxsize=CONNECTIONS, ca_certs=str(namespace.access.ca))
    headers = {"Authorization": f"Bearer {namespace.token_file.read_text()}", "Content-Type": "application/json"}
    until = time.monotonic() + SECONDS
    made: list[int] = []

    def create() -> None:
        count = 0
        while time.monotonic() < until:
            _create_bare(pool, namespace, headers, manifest, template, config)
            count += 1
        made.append(count)

    threads = [threading.Thread(target=create) for _ in range(CONNECTIONS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(made) / (time.monotonic() - began)


def _create_bare(
    pool: urllib3.PoolManager,
    namespace: Namespace,
    headers: dict[str, str],
    manifest: bytes,
    template: JobSpec,
    config: Config,
) -> None:
    name = f"analysis-s0-{uuid.uuid4()}-1"
    body = manifest.replace(template.name.encode(), name.encode())
    base = f"{namespace.access.url}"
    jobs = f"{base}/apis/batch/v1/namespaces/{namespace.name}/jobs"
    answer = pool.request("POST", jobs, body=body, headers=headers)
    assert answer.status == 201, answer.data
    uid = msgspec.json.decode(answer.data)["metadata"]["uid"]
    secret = secret_manifest(template, config, unseal(template), name=f"{name}-bare", owner_uid=uid)
    secrets = f"{base}/api/v1/namespaces/{namespace.name}/secrets"
    answer = pool.request("POST", secrets, body=msgspec.json.encode(secret), headers=headers)
    assert answer.status == 201, answer.data
