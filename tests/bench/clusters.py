"""Jobs a second on real servers: through the whole HTTP path, against a bare client that creates the same objects.

Nothing of it runs: Kubernetes' Jobs are suspended, as a queue would have them, and Nomad's ask for a datacenter that
there is not. So what is measured are creations, and not how fast one machine starts containers. What was made stays
until the end: a real cluster is not empty either, and Nomad remembers a job for hours.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
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
from tests.bench.figures import Figure
from tests.conftest import KeyPair, make_key_pair
from tests.kubernetes.jobs import analysis
from tests.kubernetes.namespaces import Namespace
from tests.nomad.access import Nomad

CONNECTIONS = 32
SECONDS, TURNS = 2, 16
"""A machine's speed may change by a third within seconds, so the two take turns that are short, and many."""

QUIET_SECONDS = 0.5
"""Without a job being accepted, after which none is in hand any more."""

POOL = "idle"

TOKEN_BYTES = 700
"""Of a result token, signed with a key of 2048 bits."""

Create = Callable[[str], None]
"""Creates the objects of one job under that name, and does nothing else."""


def kubernetes(work: Path) -> Iterator[Figure]:
    """Jobs accepted a second by a real API server, against a bare client; and what we ourselves cost."""
    access = _servers().kubernetes
    atlas = make_key_pair()
    sections = _sections(work, "kubernetes", atlas, {POOL: {"queueName": "nobody"}})
    namespace = Namespace.create(access, work, lambda **more: parse(yaml.safe_dump({**sections, **more}), {}))
    config = namespace.config()
    sections["kubernetes"] = {"namespace": namespace.name, "kubeconfig": config.cluster.kubeconfig}
    try:
        bare = _bare_kubernetes(namespace, config)
        yield from _compare("Kubernetes", work, sections, bare, _token(atlas))
    finally:
        namespace.delete()


def nomad(work: Path) -> Iterator[Figure]:
    """Jobs accepted a second by a real Nomad, against a bare client; and what we ourselves cost."""
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
        yield from _compare("Nomad", work, sections, _bare_nomad(access, config), _token(atlas))
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
        # As many in hand as the bare client has; one process each, since the cluster has the same two cores.
        "http": {"bind": f"127.0.0.1:{stack.free_port()}", "workers": 1, "threads": CONNECTIONS},
        "sidecar": {"socket": str(work / f"{driver}.sock"), "workers": 1, "threads": CONNECTIONS},
        "tracker": {"intervalSeconds": 3600},  # listing thousands of jobs is no part of accepting one
        "driver": driver,
        "pools": dict(pools),
    }


def _token(atlas: KeyPair) -> str:
    """What atlas sends along. One for all requests; a new one with each would cost 0.15 ms more for its signature."""
    claims = {"exp": int(time.time()) + 3600, "runner_id": "bench"}
    return jwt.encode(claims, atlas.private, algorithm="RS256")


def _compare(name: str, work: Path, sections: Mapping[str, Any], create: Create, token: str) -> Iterator[Figure]:
    path = work / f"{name}.yaml"
    path.write_text(yaml.safe_dump(dict(sections)))
    with stack.process((sys.executable, "-m", "runner", "up", "--config", str(path)), work / "log") as pid:
        root = f"http://{sections['http']['bind']}"
        stack.await_answer(f"{root}/readyz")

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

        for measure in (ours, bare):  # connections, caches
            measure()
        rates: dict[Callable[[], float], list[float]] = {ours: [], bare: []}
        made.clear()
        spent = 0.0
        for number in range(TURNS):
            # Either is the first in every other turn, so that both meet what the other has left the cluster to do.
            for measure in (ours, bare) if number % 2 else (bare, ours):
                before = stack.cpu_seconds(stack.tree(pid))
                rates[measure].append(measure())
                spent += stack.cpu_seconds(stack.tree(pid)) - before
    ratio = sum(rates[ours]) / sum(rates[bare])
    note = f"{statistics.mean(rates[ours]):.0f} of {statistics.mean(rates[bare]):.0f} jobs/s"
    yield Figure(f"{name}, whole path against bare client", ratio, "", 0.8, at_least=True, note=note)
    yield Figure(f"{name}, our CPU for each job", spent / sum(made) * 1000, "ms", 2.5)


class _CommandLog:
    """What the sidecar writes from now on.

    wrk ends in the midst of as many requests as it has connections, and doesn't count them; the bare client ends with
    its last job. So ours are counted where they are accepted, until the last one is.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._begin = log.stat().st_size
        self._began = time.time()

    def accepted(self) -> tuple[int, float]:
        """How many jobs, and how many a second; once nothing is in hand any more."""
        known: list[float] = []
        while len(found := self._moments()) > len(known):
            known = found
            time.sleep(QUIET_SECONDS)
        return len(known), len(known) / (known[-1] - self._began)

    def _moments(self) -> list[float]:
        """When each was accepted, in seconds since the epoch."""
        with self._log.open("rb") as log:
            log.seek(self._begin)
            lines = [line for line in log if b'"message":"accepted"' in line]
        return [datetime.fromisoformat(msgspec.json.decode(line)["time"]).timestamp() for line in lines]


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


def _unsealed(job: JobSpec) -> dict[str, str]:
    """Secrets as long as real ones, which a result token makes most of."""
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
        secret = secret_manifest(template, config, _unsealed(template), name=f"{name}-bare", owner_uid=uid)
        _accepted(pool.request("POST", secrets, body=msgspec.json.encode(secret), headers=headers))

    return create


def _bare_nomad(access: Nomad, config: Config) -> Create:
    """The Variable, and the job that reads it."""
    template = _template(config)
    job = msgspec.json.encode(specification(template, config))
    items = msgspec.json.encode(open_items(template, _unsealed(template), "bare"))
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
