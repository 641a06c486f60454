"""Two replicas behind nginx, restarted one after the other by SIGTERM under requests: no request and no end is lost.

Nor is a result published twice: a tracker that is asked to stop marks what atlas has accepted before another one leads.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Sequence

from tests.prove.installation import Child, Installation
from tests.prove.requests import Client
from tests.prove.rollouts.nginx import nginx
from tests.prove.stage import Proof, Settings, mixed, simulated_ends, stage

ENDS_PER_SECOND = 20
SHORTEST_SECONDS = 30.0
"""How long requests come, so that each kind of restart happens meanwhile."""

PAUSE_SECONDS = 0.5
"""Between two restarts."""

LATER = (429, 503, 504)
"""What a client may be answered besides 2xx, if Retry-After says when to repeat the request."""

KINDS: dict[str, Callable[[Installation], Sequence[Child]]] = {
    "functions": lambda replica: (replica.edge,),
    "runner": lambda replica: (replica.sidecar, *replica.trackers),
    "replica": lambda replica: (replica.edge, replica.sidecar, *replica.trackers),
}
"""By name: what is stopped together, in that order."""


class Rollout:
    """Restarts one replica after the other in a thread until `stop`, each time by the next kind.

    So each kind happens within three restarts, also where a restart takes ten seconds, and to each of two replicas.
    """

    def __init__(self, replicas: Sequence[Installation]) -> None:
        self._replicas = replicas
        self._ended = threading.Event()
        self.restarts: Counter[str] = Counter()
        self.killed = 0
        """Processes that did not end by SIGTERM."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(120)

    def _run(self) -> None:
        for kind, replica in zip(itertools.cycle(KINDS), itertools.cycle(self._replicas), strict=False):
            if self._ended.wait(PAUSE_SECONDS):
                return
            self._restart(replica, KINDS[kind](replica))
            self.restarts[kind] += 1

    def _restart(self, replica: Installation, children: Sequence[Child]) -> None:
        for child in children:
            self.killed += not child.stop()
        for child in reversed(children):
            child.start()
        replica.await_ready()


def rollouts(settings: Settings) -> Proof:
    """SIGTERM of the functions, of the runner, and of both, on one replica after the other, at a steady rate."""
    with stage(settings) as opened:
        _, first = simulated_ends(opened, seconds=0.5)
        replicas = (first, opened.replica(first))
        client = Client(opened.enter(nginx(opened.work, [each.url for each in replicas])).url, settings.seed)
        opened.clients = [client]
        rollout = Rollout(replicas)
        seconds = max(SHORTEST_SECONDS, settings.ends / ENDS_PER_SECOND)
        client.analyses(mixed(settings.ends), seconds=seconds)
        rollout.stop()
        found = opened.settled(120)
    wrong = {said: count for said, count in client.answers.items() if not allowed(*said)}
    failures = [f"{count} times {shown(*said)}" for said, count in sorted(wrong.items())]
    failures += [f"{rollout.killed} processes did not end by SIGTERM"] if rollout.killed else []
    failures += [f"the {kind} was never restarted" for kind in KINDS if not rollout.restarts[kind]]
    answers = ", ".join(f"{count} times {shown(*said)}" for said, count in sorted(client.answers.items()))
    restarts = ", ".join(f"{count} times the {kind}" for kind, count in rollout.restarts.items())
    failures += [f"{found.doubled} results came again under their id"] if found.doubled else []
    return Proof(found, (f"restarted {restarts}", f"answers: {answers}"), tuple(failures))


def allowed(status: int, retry_after: bool) -> bool:
    """Whether a client may get this answer during a rollout."""
    return 200 <= status < 300 or (status in LATER and retry_after)


def shown(status: int, retry_after: bool) -> str:
    """The answer in words."""
    return f"{status or 'no answer'}{' with Retry-After' if retry_after else ''}"
