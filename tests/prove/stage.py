"""What a scenario works with: places on the clusters, a recording atlas, one installation, a client, and the table."""

from __future__ import annotations

import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.cluster import Cluster
from tests.prove.images import PROGRAM
from tests.prove.installation import Installation, base_sections, kubernetes_sections, nomad_sections
from tests.prove.kubelet import Kubelet
from tests.prove.places import KubernetesPlace, NomadPlace
from tests.prove.requests import Client
from tests.recorder.clusters import RecordedJob, kubernetes_jobs, nomad_jobs
from tests.recorder.deliveries import Atlas, recording_atlas
from tests.recorder.table import Table, rendered, table

QUIET_SECONDS = 5.0
"""After the last result that is expected, wait so long for results that are not."""

MIX = (
    ("exit3", (5107,)),
    ("clone", (5103,)),
    ("ok", ()),
    ("exit3", (5107,)),
    ("oom", (5104,)),
)
"""Words of run ids, and the codes of their results: what ends are made of."""


class Settings(msgspec.Struct, frozen=True):
    """How large a proof is, and against which code."""

    cluster: Cluster
    code: Path
    ends: int = 100
    seed: int = 1
    minutes: float = 0.5
    restart_server: bool = False
    """Really restart the API server, which all users of the cluster notice."""

    def random(self, scenario: str) -> random.Random:
        return random.Random(f"{scenario}-{self.seed}")


class Proof(msgspec.Struct, frozen=True):
    """The result of one scenario: its table, what is worth a note, and what has failed besides the table."""

    table: Table
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        return self.table.right and not self.failures

    def shown(self, name: str) -> str:
        lines = [rendered({name: self.table})]
        lines += [f"  {each}" for each in self.notes]
        lines += [f"  FAILED: {each}" for each in self.failures]
        return "\n".join(lines)


class Stage:
    """One running scenario. Everything in it is ended and removed with it."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self.settings = settings
        self._stack = stack
        self.work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrator-prove-")))
        host = settings.cluster.kubernetes.host
        self.atlas: Atlas = stack.enter_context(recording_atlas(self.work, host))
        self.kubernetes_places: list[KubernetesPlace] = []
        self.nomad_places: list[NomadPlace] = []
        self.clients: list[Client] = []

    def kubernetes(self, *objects: dict[str, Any], account: str = "") -> KubernetesPlace:
        """A new namespace on Kubernetes, with these objects; see KubernetesPlace."""
        access = self.settings.cluster.kubernetes
        place = KubernetesPlace(access, self.settings.code, self.work, *objects, account=account)
        self._stack.callback(place.close)
        self.kubernetes_places.append(place)
        return place

    def nomad(self) -> NomadPlace:
        """A new namespace on Nomad."""
        place = NomadPlace(self.settings.cluster.nomad, self.settings.code, self.work)
        self._stack.callback(place.close)
        self.nomad_places.append(place)
        return place

    def kubelet(self, seconds: float | None) -> Kubelet:
        """A node without a kubelet; see Kubelet."""
        kubelet = Kubelet(self.kubernetes_places[0].api, f"prove-{uuid.uuid4().hex[:8]}", seconds)
        self._stack.callback(kubelet.close)
        return kubelet

    def install(self, sections: dict[str, Any], *, trackers: int = 1, **more: Any) -> Installation:
        """Start an installation, and a client for it."""
        document = {**base_sections(self.atlas.url), **sections, **more}
        installation = Installation(self.settings.code, self.work, document, trackers=trackers)
        self._stack.callback(installation.close)
        self.clients.append(Client(installation.url, self.settings.seed))
        return installation

    def replica(self, installation: Installation) -> Installation:
        """Start a second replica of an installation. No client sends to it alone."""
        second = installation.replica(self.work)
        self._stack.callback(second.close)
        return second

    @property
    def client(self) -> Client:
        return self.clients[0]

    def enter(self, manager: Any) -> Any:
        """Enter a context that ends with the scenario."""
        return self._stack.enter_context(manager)

    def jobs(self) -> list[RecordedJob]:
        """What the clusters have."""
        found: list[RecordedJob] = []
        for kubernetes in self.kubernetes_places:
            found += kubernetes_jobs(kubernetes.api, kubernetes.name)
        for nomad in self.nomad_places:
            found += nomad_jobs(nomad.api, nomad.name)
        return found

    def table(self, jobs: Sequence[RecordedJob] | None = None) -> Table:
        """The table as of now."""
        asked = [each for client in self.clients for each in client.asked]
        return table(asked, self.jobs() if jobs is None else jobs, self.atlas.deliveries())

    def settled(self, seconds: float, meanwhile: Callable[[], object] = lambda: None) -> Table:
        """Wait until no result is missing and nothing runs, then for what may come too much."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            meanwhile()
            if not self.table(jobs=()).missing and not self.table().running:
                break
            time.sleep(0.5)
        time.sleep(QUIET_SECONDS)
        return self.table()


@contextmanager
def stage(settings: Settings) -> Iterator[Stage]:
    """Open a scenario, and clear everything away after it."""
    with ExitStack() as stack:
        yield Stage(settings, stack)


def simulated_ends(
    opened: Stage, *, seconds: float | None, trackers: int = 1, server: str = ""
) -> tuple[Kubelet, Installation]:
    """A namespace whose pods come to a node without a kubelet, and an installation for it."""
    place = opened.kubernetes()
    kubelet = opened.kubelet(seconds)
    sections = kubernetes_sections(place, {"simulated": kubelet.pool()}, server)
    return kubelet, opened.install(sections, trackers=trackers)


def mixed(ends: int) -> list[tuple[str, tuple[int, ...]]]:
    """So many words with their codes."""
    return [MIX[number % len(MIX)] for number in range(ends)]


def nomad_programs(opened: Stage, *, server: str = "", **more: Any) -> tuple[NomadPlace, Installation]:
    """A Nomad namespace whose jobs are small programs on the node, and an installation for it."""
    place = opened.nomad()
    program = opened.work / "program"
    program.write_text(PROGRAM)
    opened.work.chmod(0o755)
    program.chmod(0o755)
    images = {name: {"command": [str(program)]} for name in ("coat", "marvin-*", "ssh-verify")}
    return place, opened.install(nomad_sections(place, images, server), **more)
