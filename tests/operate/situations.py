"""Eight situations on the real servers, four that wait and four that have ended, and what `jobs explain` says of each.

`python -m tests.operate.situations [ENGINE ...]` prints the answers. A situation is reached by real processes: `up`
with HTTP functions, sidecar and tracker, real containers, and an atlas that fails where the situation says so.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import urllib3
import yaml
from click.testing import CliRunner

from runner.cli import main as runner
from tests import cluster
from tests.conftest import ROOT
from tests.harness.processes import eventually, free_port
from tests.prove.images import PATH, loaded
from tests.prove.installation import Child, base_sections, kubernetes_sections, nomad_sections
from tests.prove.places import KubernetesPlace
from tests.prove.requests import Client
from tests.prove.stage import Settings, Stage, stage

SECONDS = 240.0
"""Until a situation has come about: the servers are shared, and their nodes may be full for a while."""


class Situation(msgspec.Struct, frozen=True):
    """A job, and the words that the explanation must have."""

    title: str
    name: str
    words: tuple[str, ...]


class Up:
    """`up` with metrics, and a client for it."""

    def __init__(self, opened: Stage, sections: dict[str, Any]) -> None:
        port, self.metrics_port = free_port(), free_port()
        work = opened.work / f"up-{uuid.uuid4().hex[:6]}"
        work.mkdir(mode=0o700)
        base = base_sections(opened.atlas.url)
        document = {
            **base,
            **sections,
            "http": {**base["http"], "bind": f"127.0.0.1:{port}", "workers": 1},
            "sidecar": {**base["sidecar"], "socket": str(work / "sidecar.sock")},
            "metrics": {"bind": f"127.0.0.1:{self.metrics_port}"},
        }
        self.config = work / "config.yaml"
        self.config.touch(0o600)
        self.config.write_text(yaml.safe_dump(document))
        self.url = f"http://127.0.0.1:{port}"
        self.client = Client(self.url, 1)
        arguments = ("-m", "runner", "up", "--config", str(self.config))
        self._child = Child(ROOT, arguments, work / "log", {"ORCHESTRATOR_LOG_LEVEL": "WARNING"})

    def __enter__(self) -> Up:
        eventually(self._ready, f"`up` is ready: {self._child.log}", 90)
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop()

    def explained(self, name: str) -> str:
        """What an operator reads on this host."""
        result = CliRunner().invoke(runner, ["jobs", "explain", name, "--config", str(self.config)])
        return result.stdout if result.exit_code == 0 else f"exit code {result.exit_code}: {result.output}"

    def reached(self, situation: Situation) -> str:
        """The explanation, once it has all the words; the last one, if it never has."""
        until, said = time.monotonic() + SECONDS, ""
        while time.monotonic() < until:
            said = self.explained(situation.name)
            if not missing(situation, said):
                break
            time.sleep(1)
        return said

    def metrics(self) -> str:
        """What Prometheus would read."""
        return urllib3.request("GET", f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10).data.decode()

    def _ready(self) -> bool:
        with suppress(urllib3.exceptions.HTTPError):
            return urllib3.request("GET", f"{self.url}/readyz", timeout=2, retries=False).status == 200
        return False


def missing(situation: Situation, said: str) -> list[str]:
    """The words that an explanation does not have, wherever its lines break."""
    plain = " ".join(said.split())
    return [word for word in situation.words if word not in plain]


@contextmanager
def on_kubernetes(servers: cluster.Cluster) -> Iterator[tuple[Up, Callable[[], Sequence[Situation]]]]:
    """An installation, and what brings its four situations about."""
    with stage(Settings(cluster=servers, code=ROOT)) as opened:
        host = opened.enter(loaded())
        place = opened.kubernetes()
        sections = kubernetes_sections(place, {"real": {}}, images=f"{host}/{PATH}")
        sections["kubernetes"]["imageRegistry"]["pullPolicy"] = "IfNotPresent"
        up = opened.enter(Up(opened, sections))
        yield up, lambda: _kubernetes(place, up.client)


def _kubernetes(place: KubernetesPlace, client: Client) -> Sequence[Situation]:
    held = client.analysis("hold", (5106,)).name
    pods = eventually(lambda: _running(place, held), f"{held} runs", SECONDS)
    place.delete("pods", pods[0])
    memory = client.analysis("oom", (5104,)).name
    image = client.analysis("absent", (5101,), version="absent").name
    full = client.analysis("huge", (5102,), cpu_limit="250000").name
    return (
        Situation(
            "waits: an image is missing",
            image,
            ("waits (kubernetes", "ImagePullBackOff: marvin", "marvin-python:absent", "not found", "image_unavailable",
             "limits.imageSeconds", "Nothing yet", "Check the image's name and version"),
        ),
        Situation(
            "waits: no node has room",
            full,
            ("waits (kubernetes", "Unschedulable: 0/", "Insufficient cpu", "unschedulable (5102)",
             "limits.queueSeconds", "Add capacity"),
        ),
        Situation(
            "ended: out of memory",
            memory,
            ("out_of_memory, code 5104", "marvin ran out of memory", "It has accepted the result", "Raise the memory"),
        ),
        Situation(
            "ended: somebody deleted the pod",
            held,
            ("disrupted, code 5106", "deleted", "It has accepted the result", "Run it again"),
        ),
    )  # fmt: skip


def _running(place: KubernetesPlace, name: str) -> list[str]:
    """The pods of the job whose main container runs."""
    pods = place.api.call("GET", place.path("pods"), labelSelector=f"job-name={name}")["items"]
    return [
        pod["metadata"]["name"]
        for pod in pods
        if any("running" in each["state"] for each in pod["status"].get("containerStatuses", ()))
    ]


@contextmanager
def on_nomad(servers: cluster.Cluster) -> Iterator[tuple[Up, Callable[[], Sequence[Situation]]]]:
    """An installation, and what brings its four situations about."""
    with stage(Settings(cluster=servers, code=ROOT)) as opened:
        host = opened.enter(loaded())
        sections = nomad_sections(opened.nomad(), {}, task_driver="docker")
        registry = {"kubernetes": {"imageRegistry": {"registryUrl": f"{host}/{PATH}"}}}
        pools = {**sections["pools"], "gpu": {"driver": "nomad", "nodeSelector": {"gpu": "yes"}}}
        up = opened.enter(Up(opened, {**sections, **registry, "pools": pools}))
        yield up, lambda: _nomad(opened, up.client)


def _nomad(opened: Stage, client: Client) -> Sequence[Situation]:
    clone = client.analysis("clone", (5103,))
    nowhere = client.analysis("ok", (5102,), pool="gpu").name
    full = client.analysis("huge", (5102,), memory_limit="1000000").name
    codes = eventually(
        lambda: [each.code for each in opened.atlas.accepted() if each.run_id == clone.run_id],
        "the clone's end is reported",
        SECONDS,
    )
    assert codes == [5103]
    opened.atlas.behave("fail 503")
    refused = client.analysis("exit3", (5107,)).name
    return (
        Situation(
            "waits: no node is as the pool wants it",
            nowhere,
            ("waits (nomad", "Unschedulable:", "${meta.gpu} = yes", "unschedulable (5102)", "limits.queueSeconds",
             "correct the pool's node selector"),
        ),
        Situation(
            "waits: no node has room",
            full,
            ("waits (nomad", "Unschedulable:", "memory", "unschedulable (5102)", "limits.queueSeconds", "Add capacity"),
        ),
        Situation(
            "ended: the repository cannot be cloned",
            clone.name,
            ("clone_failed, code 5103", "fatal: repository not found", "It has accepted the result",
             "Check the repository's URL"),
        ),
        Situation(
            "ended: the analyzer failed, and atlas does not accept the result",
            refused,
            ("analyzer_failed, code 5107", "exit code 3", "the analyzer has failed", "The result is pending",
             "Its last answer: ", "503", "time(s) so far", "Find out why atlas does not accept the result"),
        ),
    )  # fmt: skip


ENGINES = {"kubernetes": on_kubernetes, "nomad": on_nomad}


def main() -> int:
    """Print what is said of each situation. Exit code 1 if one lacks a word."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that everything is cleared away
    right, servers = True, cluster.up()
    for engine in sys.argv[1:] or ENGINES:
        with ENGINES[engine](servers) as (up, situations):
            for situation in situations():
                said = up.reached(situation)
                lacks = missing(situation, said)
                right = right and not lacks
                print(f"== {engine}, {situation.title}\n\n{said}", flush=True)
                if lacks:
                    print(f"LACKS: {json.dumps(lacks)}\n", flush=True)
    return 0 if right else 1


if __name__ == "__main__":
    os.environ.setdefault("NO_COLOR", "1")
    sys.exit(main())
