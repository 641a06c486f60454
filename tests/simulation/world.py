"""One run: our real code, simulated servers, clients, and whatever the scenario does to them.

clients ─▶ workers (composition.drivers) ─▶ network ─▶ API server or Nomad ◀─ controllers, nodes, somebody who deletes
                     trackers (composition.tracker) ─▶ network ─▶ atlas
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from runner import composition
from runner.composition import Outside
from runner.config.types import Config
from runner.drivers.driver import Driver
from tests.simulation import scenario
from tests.simulation.atlas import URL as ATLAS
from tests.simulation.atlas import Atlas
from tests.simulation.checker.promises import Checker
from tests.simulation.clients import Client, Worker
from tests.simulation.configuration import InternalErrors, configuration, shortcuts
from tests.simulation.history import History
from tests.simulation.kubernetes.cluster import URL as KUBERNETES
from tests.simulation.kubernetes.cluster import KubernetesCluster
from tests.simulation.nomad.cluster import URL as NOMAD
from tests.simulation.nomad.cluster import NomadCluster
from tests.simulation.operators import Operator
from tests.simulation.scenario import ENGINES, STORM_SECONDS, Scenario
from tests.simulation.scheduler import Process, Scheduler
from tests.simulation.seams.http_client import SimulatedHttpClient
from tests.simulation.seams.network import Network
from tests.simulation.seams.outside import VirtualClock, VirtualSignal, VirtualTasks

PATIENCE = 240.0
"""Seconds after the storm within which every end must have reached atlas."""

AFTERMATH = 45.0
"""Seconds after the last end, in which nothing may contradict it."""

SLICE = 5.0
"""Seconds between two checks whether anything is pending."""

_URLS = {"kubernetes": KUBERNETES, "nomad": NOMAD}
_CLUSTERS = {"kubernetes": KubernetesCluster, "nomad": NomadCluster}

StartTracker = Callable[[Config, Outside, VirtualSignal], None]


@dataclass(frozen=True)
class Run:
    """How a run of one seed went."""

    seed: int
    violations: tuple[str, ...]
    trace_hash: str
    seconds: float
    steps: int
    story: str


class World:
    """Everything, for one seed."""

    def __init__(self, seed: int, engine: str, plan: Scenario, start_tracker: StartTracker) -> None:
        self.scheduler = Scheduler(seed)
        self.plan = plan
        self.history = History(lambda: self.scheduler.now)
        self._seed = seed
        self._start_tracker = start_tracker
        self._network = Network(self.scheduler, plan.weather)
        self._network.servers[ATLAS] = Atlas(self._network, self.history, plan.refusing)
        self._clusters = [
            _CLUSTERS[each](self._network, self.history, scenario.NAMESPACES, plan) for each in ENGINES[engine]
        ]
        self._config = configuration(engine)
        self._workers = {name: Worker(self.scheduler, name, self._boot) for name in ("worker-1", "worker-2")}
        self._trackers: dict[str, Process] = {}
        self._generation = 0
        self._clients = Process(self.scheduler, "clients")
        self._busy = 0
        self._errors = InternalErrors()

    def run(self) -> tuple[str, ...]:
        """Run it to its end. Returns the broken promises."""
        with self._errors:
            return self._run()

    def _run(self) -> tuple[str, ...]:
        self._begin()
        limit = STORM_SECONDS + PATIENCE
        self._slice(lambda: self._busy == 0 and self.scheduler.now > STORM_SECONDS, limit)
        self._slice(lambda: not any(self._pending()), limit)
        self._slice(lambda: False, self.scheduler.now + AFTERMATH)
        broken = [text for each in self._checkers() for text in (*each.violations(), *each.pending())]
        waiting = ("clients still wait for a 2xx",) if self._busy else ()
        return (*waiting, *broken, *(f"an internal error: {text}" for text in self._errors.seen))

    def close(self) -> None:
        """Let every greenlet end."""
        for process in (self._clients, *self._trackers.values(), *(each.process for each in self._workers.values())):
            process.kill()
        self.scheduler.run(lambda: not self.scheduler.busy, self.scheduler.now)

    def story(self) -> str:
        """What happened to each name."""
        return "\n\n".join(
            f"{each.name}\n{self.history.described(each.name, (each.end_id, each.cancel_id))}"
            for each in self._checkers()
        )

    def _slice(self, done: Callable[[], bool], limit: float) -> None:
        while not done() and self.scheduler.now < limit:
            self.scheduler.run_for(min(SLICE, limit - self.scheduler.now))

    def _checkers(self) -> Iterator[Checker]:
        calm, quiet = self.plan.calm, self.plan.quiet
        engines = len(self._clusters)
        return (
            Checker(self.history, intent.name, calm=calm, quiet=quiet, engines=engines) for intent in self.plan.intents
        )

    def _pending(self) -> Iterator[str]:
        return (text for each in self._checkers() for text in each.pending())

    def _begin(self) -> None:
        client = Client(self.scheduler, self.history, list(self._workers.values()))
        for intent in self.plan.intents:
            for at in intent.submits:
                self._at(
                    at, lambda name=intent.name: client.submit(name, self.plan.pools_of(name), self._config.driver_of)
                )
            for at in intent.cancels:
                self._at(at, lambda name=intent.name: client.cancel(name))
        operator = Operator(self.scheduler, self.history, self._boot)
        for at, name in self.plan.resends:
            self._at(at, lambda name=name: operator.resend(name))
        for name in ("tracker-a", "tracker-b"):
            self._boot_tracker(name)
        for at, whom, pause in self.plan.kills:
            self.scheduler.after(at, f"{whom} is killed", lambda whom=whom, pause=pause: self._kill(whom, pause))
        for at, name in self.plan.deletions:
            self.scheduler.after(at, f"somebody deletes {name}", lambda name=name: self._delete(name))
        for at in self.plan.compactions:
            self.scheduler.after(at, "compaction", self._compact)

    def _delete(self, name: str) -> None:
        for cluster in self._clusters:
            cluster.delete(name)

    def _compact(self) -> None:
        for cluster in self._clusters:
            cluster.compact()

    def _at(self, at: float, request: Callable[[], None]) -> None:
        self._busy += 1

        def ask() -> None:
            request()
            self._busy -= 1

        self.scheduler.after(at, "a client begins", lambda: self._clients.start("client", ask))

    def _outside(self, process: Process, skew: float = 0.0) -> Outside:
        clock = VirtualClock(self.scheduler, process, skew)
        random = Random(self.scheduler.random.getrandbits(64))
        network = self._network
        return Outside(
            clock, random, lambda: SimulatedHttpClient(network, process), VirtualTasks(self.scheduler, process)
        )

    def _boot(self, process: Process) -> dict[str, Driver]:
        return composition.drivers(self._config, self._outside(process))

    def _boot_tracker(self, name: str) -> None:
        self._generation += 1
        process = self._trackers[name] = Process(self.scheduler, f"{name}.{self._generation}")
        outside = self._outside(process, self.plan.skews.get(name, 0.0))
        stop = VirtualSignal(self.scheduler, process)
        process.start("main", lambda: self._start_tracker(self._config, outside, stop))

    def _kill(self, whom: str, pause: float) -> None:
        self.history.kills.append((self.scheduler.now, whom))
        if whom in self._workers:
            self._workers[whom].kill()
            again: Callable[[], None] = self._workers[whom].start
        else:
            self._trackers[whom].kill()
            again = lambda: self._boot_tracker(whom)  # noqa: E731
        self.scheduler.after(pause, f"{whom} is started again", lambda: self._restart(whom, again))

    def _restart(self, whom: str, again: Callable[[], None]) -> None:
        process = self._workers[whom].process if whom in self._workers else self._trackers[whom]
        if not process.alive:  # it may have been killed and started meanwhile
            again()


def simulate(
    seed: int,
    engine: str = "kubernetes",
    *,
    plan: Scenario | None = None,
    start_tracker: StartTracker | None = None,
    trace: bool = False,
) -> Run:
    """Run one seed: the scenario that it draws, or that `plan`."""
    plan = plan or planned(seed, engine)
    with shortcuts():
        world = World(seed, engine, plan, start_tracker or real_tracker)
        world.scheduler.keep_trace = trace
        try:
            violations = world.run()
            story = "" if not violations and not trace else world.story()
            if trace:
                story = "\n".join([*world.scheduler.lines, story])
            digest, seconds, steps = world.scheduler.trace_hash, world.scheduler.now, world.scheduler.steps
        finally:
            world.close()
    return Run(seed, violations, digest, seconds, steps, story)


def planned(seed: int, engine: str) -> Scenario:
    """The scenario of a seed."""
    servers = tuple(_URLS[each] for each in ENGINES[engine])
    return scenario.drawn(seed, engine, (ATLAS, *servers))


def real_tracker(config: Config, outside: Outside, stop: VirtualSignal) -> None:
    """The tracker itself."""
    composition.tracker(config, outside).run(stop)
