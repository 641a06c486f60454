"""A simulated API server for bursts that a real one cannot deliver: `python -m tests.bench.api_server COUNT`.

It has COUNT jobs in one namespace, each with a pod that runs, in the documents that the Orchestrator and a kubelet
write. It answers what a tracker asks: lists, watches, logs, marks and the Lease. It decides nothing else and checks no
guard: tests/simulation does. A line on the standard input ends all runs at once; then the standard output has the time
(monotonic) of the first event. Each end is the pod's, followed by the two conditions that the Job controller writes.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import yaml

from runner.config.loading import parse
from runner.drivers.kubernetes.manifest import job_manifest
from tests.bench.stack import ROOT
from tests.conftest import make_key_pair
from tests.kubernetes.jobs import analysis
from tests.prove.kubelet import Fate, ended, running

NAMESPACE = "bench"
LOG = b"".join(b"line %d of what the analyzer has printed\n" % number for number in range(20))
BATCH = 50
"""After the events of so many ends, the streams' buffers are awaited."""

_HEAD = b"HTTP/1.1 %d Done\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"

Document = dict[str, Any]


class Cluster:
    """The documents, with a version for each, and the open watches."""

    def __init__(self, count: int) -> None:
        self.jobs, self.pods = _documents(count)
        self.watches: dict[str, list[asyncio.StreamWriter]] = {"jobs": [], "pods": []}
        self._version = 0
        for each in (*self.jobs.values(), *self.pods.values()):
            self.touch(each)

    def touch(self, document: Document) -> Document:
        """Give the document the next version."""
        self._version += 1
        document["metadata"]["resourceVersion"] = str(self._version)
        return document

    def listed(self, kind: str) -> bytes:
        items = list((self.jobs if kind == "jobs" else self.pods).values())
        return msgspec.json.encode({"metadata": {"resourceVersion": str(self._version)}, "items": items})

    def show(self, kind: str, change: str, document: Document) -> None:
        """Send an event to all that watch."""
        line = msgspec.json.encode({"type": change, "object": self.touch(document)}) + b"\n"
        for writer in self.watches[kind]:
            writer.write(b"%x\r\n%b\r\n" % (len(line), line))

    async def finish(self) -> None:
        """End all runs."""
        for number, (name, job) in enumerate(list(self.jobs.items())):
            pod = self.pods[name]
            pod["status"] = ended(pod, Fate(main=3))
            self.show("pods", "MODIFIED", pod)
            for condition in ("FailureTarget", "Failed"):
                job["status"] = {"conditions": [*job["status"].get("conditions", ()), _condition(condition)]}
                self.show("jobs", "MODIFIED", job)
            if number % BATCH == 0:
                for writer in (*self.watches["jobs"], *self.watches["pods"]):
                    with suppress(ConnectionError):  # the watch has had its time, and there is another one
                        await writer.drain()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The requests of one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().lower().split("\r\n")
                size = next((int(each[15:]) for each in lines if each.startswith("content-length:")), 0)
                body = await reader.readexactly(size)
                method, target, _ = head.decode().split("\r\n")[0].split(" ")
                if not self._answer(writer, method, target, body):
                    await asyncio.Event().wait()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _answer(self, writer: asyncio.StreamWriter, method: str, target: str, body: bytes) -> bool:
        """Answer one request. False if it is a watch, which goes on."""
        url = urlsplit(target)
        parts = url.path.split("/")
        kind, name = [*parts[parts.index(NAMESPACE) + 1 :], ""][:2]
        if "watch" in parse_qs(url.query):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            self.watches[kind].append(writer)
            return False
        if kind == "leases":
            status, found = (404, b"{}") if method == "GET" else (200, self._lease(body))
        elif method == "PATCH":
            status, found = 200, b"{}"
            self.show("jobs", "DELETED", self.jobs[name])
        else:
            status, found = 200, LOG if url.path.endswith("/log") else self.listed(kind)
        writer.write(_HEAD % (status, len(found)) + found)
        return True

    def _lease(self, body: bytes) -> bytes:
        return msgspec.json.encode(self.touch(msgspec.json.decode(body)))


def _documents(count: int) -> tuple[dict[str, Document], dict[str, Document]]:
    """The jobs and their pods, by the job's name."""
    section = {"runner": {"id": "bench", "privateKey": make_key_pair().private}, "driver": "kubernetes"}
    atlas = {"deepsource": {"host": "http://127.0.0.1:9", "publicKey": make_key_pair().public}}
    config = parse(yaml.safe_dump({**section, **atlas, "kubernetes": {"namespace": NAMESPACE}}), {})
    sample = msgspec.json.decode((ROOT / "examples" / "analysis.json").read_bytes())
    jobs, pods = {}, {}
    for number in range(count):
        spec = analysis(config, lambda _: sample, f"run-{number:06d}")
        jobs[spec.name] = job = job_manifest(spec, config, nonce="bench")
        created = {"uid": f"uid-{number}", "creationTimestamp": "2026-01-01T00:00:00Z"}
        job["metadata"] |= created
        job["status"] = {"active": 1, "ready": 1}
        labels = {"batch.kubernetes.io/job-name": spec.name, "batch.kubernetes.io/controller-uid": f"uid-{number}"}
        template = job["spec"]["template"]
        metadata = {**created, "uid": f"pod-{number}", "name": f"{spec.name}-abcde", "namespace": NAMESPACE}
        metadata["labels"] = template["metadata"]["labels"] | labels
        pods[spec.name] = pod = {"metadata": metadata, "spec": template["spec"], "status": {}}
        pod["status"] = running(pod)
    return jobs, pods


def _condition(kind: str) -> Document:
    at = "2026-01-01T00:10:00Z"
    why = {"reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}
    return {"type": kind, "status": "True", "lastProbeTime": at, "lastTransitionTime": at, **why}


async def main(count: int) -> None:
    cluster = Cluster(count)
    server = await asyncio.start_server(cluster.serve, "127.0.0.1", 0, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(time.monotonic(), flush=True)
        await cluster.finish()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
