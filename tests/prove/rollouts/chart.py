"""The chart on the real Kubernetes, two replicas behind nginx, upgraded and restarted: no request and no end is lost.

It starts as the previous release, with jobs that run on while it is upgraded to this one. Then, at a steady rate of
requests, in turn: either container of a pod is restarted alone, a pod is evicted, the configuration changes.
"""

from __future__ import annotations

import itertools
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.conftest import ROOT
from tests.prove.kubelet import Kubelet
from tests.prove.requests import CONNECTIONS, Client
from tests.prove.rollouts.nginx import nginx
from tests.prove.rollouts.processes import allowed, shown
from tests.prove.rollouts.release import READY_SECONDS, Release, followed
from tests.prove.stage import MIX, Proof, Settings, Stage, mixed, stage
from tests.recorder.deliveries import Atlas

PREVIOUS = "5429704"
"""The commit of the previous release. Before the first release with a chart: the first commit whose chart installs."""

SMALL = 100
"""Up to so many requests it is the slice for CI: fewer requests a second, and each kind once, to one replica."""

SMALL_PER_SECOND, PER_SECOND = 1.0, 5.0
"""How steadily requests come."""

RUN_SECONDS = 2.0
"""How long a job runs that does not have to run on during the upgrade."""


class Load:
    """Sends requests at a steady rate while its context is open: so many at least, and then one a second."""

    def __init__(self, client: Client, least: int, per_second: float) -> None:
        self._client = client
        self._least = least
        self._pause = 1 / per_second
        self._sent = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def short(self) -> bool:
        """Whether more requests are still to be sent."""
        return self._sent < self._least

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        """Wait until all are sent and answered; after a failure, only until those are answered that were sent."""
        if failed:
            self._least = 0
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            while self.short or not self._stopped.is_set():
                time.sleep(max(0.0, due - time.monotonic()))
                threads.submit(self._client.analysis, *MIX[self._sent % len(MIX)])
                self._sent += 1
                due += self._pause if self.short else max(self._pause, 1.0)


class History:
    """What was done when, by the host's monotonic clock."""

    def __init__(self) -> None:
        self._done: list[tuple[float, str]] = []

    def add(self, what: str) -> None:
        self._done.append((time.monotonic(), what))

    def repeated(self, atlas: Atlas) -> list[tuple[str, int]]:
        """How many results atlas accepted again under their id, by what had been done last."""
        seen: set[str] = set()
        counts: Counter[str] = Counter()
        for each in atlas.accepted():
            if each.id in seen:
                before = [f"{what} ({each.at - at:.0f} s)" for at, what in self._done if at <= each.at]
                counts[before[-1] if before else "the beginning"] += 1
            seen.add(each.id)
        return list(counts.items())


def rollouts_chart(settings: Settings) -> Proof:
    """Upgrade from the previous release, change of configuration, restart of either container, and eviction."""
    with stage(settings) as opened:
        kubelet, release, previous = _installed(opened)
        proxy = opened.enter(nginx(opened.work, release.addresses()))
        opened.enter(followed(release, proxy.route))
        client = Client(proxy.url, settings.seed)
        opened.clients = [client]
        running = _running(opened, settings.ends // 10)
        kubelet.seconds = RUN_SECONDS
        per_second = SMALL_PER_SECOND if settings.ends <= SMALL else PER_SECOND
        history = History()
        with Load(client, settings.ends - len(running), per_second) as load:
            history.add("the upgrade began")
            release.upgrade(settings.code, log={"level": "debug"})
            ended = set(running) - kubelet.pods.keys()
            history.add("the previous release's jobs ended")
            kubelet.finish(running)
            happened = _rolled(release, load, settings, history)
        found = opened.settled(120)
        repeated = history.repeated(opened.atlas)
    wrong = {said: count for said, count in client.answers.items() if not allowed(*said)}
    failures = [f"{count} times {shown(*said)}" for said, count in sorted(wrong.items())]
    failures += [f"{len(ended)} jobs did not run on during the upgrade: {sorted(ended)}"] if ended else []
    failures += [f"{count} results came again after {what}" for what, count in repeated]
    answers = ", ".join(f"{count} times {shown(*said)}" for said, count in sorted(client.answers.items()))
    first = f"upgraded from {previous} while {len(running)} of its jobs ran"
    then = ", ".join(f"{count} times {kind}" for kind, count in happened.items())
    return Proof(found, (first, f"then {then}", f"answers: {answers}"), tuple(failures))


def _installed(opened: Stage) -> tuple[Kubelet, Release, str]:
    """A node whose pods run until `finish` ends them, and the previous release, which sends its jobs there."""
    place = opened.kubernetes()
    kubelet = opened.kubelet(None)
    config = {
        "runner": {"id": "prove"},
        "deepsource": {"host": opened.atlas.url},
        "http": {"allowUnauthenticated": True},
        "kubernetes": {"imageRegistry": {"registryUrl": "localhost/prove", "pullPolicy": "Never"}},
        "pools": {"simulated": kubelet.pool()},
        "defaultPool": "simulated",
    }
    release = Release(place, opened.work, config)
    tree, name = _previous(opened.work)
    release.upgrade(tree)
    return kubelet, release, name


def _running(opened: Stage, count: int) -> list[str]:
    """Ask for so many jobs, and wait until each one runs. Returns their names."""
    names = [each.name for each in opened.client.analyses(mixed(count))]
    until = time.monotonic() + READY_SECONDS
    while opened.table().running < count:
        if time.monotonic() > until:
            raise TimeoutError(f"not all of {count} jobs run within {READY_SECONDS} s: {opened.table()}")
        time.sleep(0.5)
    return names


def _rolled(release: Release, load: Load, settings: Settings, history: History) -> Counter[str]:
    """Each kind in turn until the requests are sent, and at least once. By name: how often."""
    levels = itertools.cycle(("info", "debug"))
    small = settings.ends <= SMALL
    kinds: dict[str, Callable[[str], None]] = {
        "the runner restarted": lambda pod: release.restart(pod, "runner"),
        "the functions restarted": lambda pod: release.restart(pod, "http"),
        "a pod evicted": release.evict,
    }
    done: Counter[str] = Counter()
    while load.short or not done:
        for kind, act in kinds.items():
            for pod in list(release.pods())[: 1 if small else None]:
                history.add(kind)
                act(pod)
                done[kind] += 1
        if not small:
            history.add("the configuration changed")
            release.upgrade(settings.code, log={"level": next(levels)})
            done["the configuration changed"] += 1
    return done


def _previous(work: Path) -> tuple[Path, str]:
    """The tree of the previous release, and its name. A clone without its commit has only its own tree."""
    archive = ("git", "-C", str(ROOT), "archive", "--format=tar", PREVIOUS)
    made = subprocess.run(archive, capture_output=True, check=False)
    if made.returncode:
        return ROOT, f"itself ({PREVIOUS} is not in this clone)"
    tree = work / "previous"
    tree.mkdir()
    subprocess.run(["tar", "-x", "-C", str(tree)], input=made.stdout, check=True)
    return tree, PREVIOUS
