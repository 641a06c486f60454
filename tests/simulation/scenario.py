"""What one seed stands for: which requests, which faults, whom to kill and when."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf
from random import Random

from tests.simulation.clients import Intent
from tests.simulation.fates import ADMISSION_SECONDS, QUEUE_SECONDS
from tests.simulation.seams.network import Weather

STORM_SECONDS = 110.0
"""All faults and kills are over by then."""

SKEW_SECONDS = 200.0
"""By how much a tracker's wall clock may be wrong."""

NAMESPACES = ("jobs", "more-jobs")

QUEUED = "queued"
"""The pool whose jobs a queue holds."""

ENGINES = {"kubernetes": ("kubernetes",), "nomad": ("nomad",), "both": ("kubernetes", "nomad")}
"""Which engines a world has."""


@dataclass(frozen=True)
class Scenario:
    """Everything that is decided before the run."""

    intents: tuple[Intent, ...]
    weather: Weather
    refusing: float = 0.0
    """How often atlas refuses."""
    kills: tuple[tuple[float, str, float], ...] = ()
    """When, which process, and seconds until it is started again."""
    deletions: tuple[tuple[float, str], ...] = ()
    """When somebody deletes the job of that name."""
    resends: tuple[tuple[float, str], ...] = ()
    """From when on an operator asks for the results of that name again."""
    compactions: tuple[float, ...] = ()
    slow_controllers: bool = False
    pools: tuple[str, ...] = ("default",)
    quotas: dict[str, float] = field(default_factory=dict)
    """For how many seconds of its life Kubernetes makes no pod for the Job of that name; infinite: never."""
    queued: dict[str, float] = field(default_factory=dict)
    """For how many seconds a queue holds the Job of that name; infinite: for ever."""
    skews: dict[str, float] = field(default_factory=dict)

    @property
    def calm(self) -> bool:
        """Whether nothing fails: then even a deleted job's end must be reported."""
        return not (self.kills or self.weather.until or self.weather.outages or self.refusing)

    def pools_of(self, name: str) -> tuple[str, ...]:
        """The pools that requests for that name have."""
        return (QUEUED,) if name in self.queued else self.pools

    @property
    def quiet(self) -> float:
        """From when on nothing fails any more."""
        outages = [end for each in self.weather.outages.values() for _, end in each]
        kills = [at + pause for at, _, pause in self.kills]
        return max([self.weather.until, *outages, *kills])


def drawn(seed: int, engine: str, servers: tuple[str, ...]) -> Scenario:
    """The scenario of a seed."""
    random, more = Random(f"{engine} {seed}"), Random(f"more of {engine} {seed}")
    plan = _drawn(random, servers)
    plan = replace(plan, resends=tuple(_resends(Random(f"resends of {engine} {seed}"), plan.intents)))
    if engine != "nomad":
        plan = _with_waits(plan, Random(f"waits of {engine} {seed}"), queue=engine == "kubernetes")
    if engine == "both":
        return _with_silent_engine(plan, more, servers[1:])
    return replace(plan, pools=("default", "other")) if more.random() < 0.3 else plan


def _with_silent_engine(plan: Scenario, random: Random, servers: tuple[str, ...]) -> Scenario:
    """Requests of one name lead to both engines. Mostly one of them is silent for a while, or one after the other."""
    outages = {} if random.random() < 0.6 else dict(plan.weather.outages)
    for server in random.sample(servers, random.choice((0, 1, 1, 1, 2))):
        begin = random.random() * 30
        outages[server] = [(begin, begin + 1 + random.random() * 60)]
    weather = plan.weather if random.random() < 0.5 else Weather()
    return replace(plan, weather=replace(weather, outages=outages), pools=("default", "other"))


def _drawn(random: Random, servers: tuple[str, ...]) -> Scenario:
    number = random.choice((1, 2, 3, 3, 4, 5, 8))
    intents = tuple(Intent.drawn(f"check-{each + 1}", random) for each in range(number))
    stormy, deadly = random.random() < 0.55, random.random() < 0.5
    deletions = [(random.random() * 80, intent.name) for intent in intents if random.random() < 0.1]
    return Scenario(
        intents,
        _weather(random, servers) if stormy else Weather(),
        refusing=random.choice((0.0, 0.2, 0.7)) if stormy else 0.0,
        kills=tuple(_kills(random)) if deadly else (),
        deletions=tuple(deletions),
        compactions=tuple(random.random() * STORM_SECONDS for _ in range(2)) if stormy else (),
        slow_controllers=stormy and random.random() < 0.4,
        skews={who: SKEW_SECONDS * random.choice((0, 0, 1, -1)) for who in ("tracker-a", "tracker-b")},
    )


def _with_waits(plan: Scenario, random: Random, *, queue: bool) -> Scenario:
    """In a third of all worlds, quotas and a queue let jobs wait: shortly, until close to the limit, or for ever."""
    if random.random() > 1 / 3:
        return plan

    def some(limit: float) -> dict[str, float]:
        names = [each.name for each in plan.intents if random.random() < 0.4]
        return {name: random.choice((6 * random.random(), limit * (0.5 + random.random()), inf)) for name in names}

    return replace(plan, quotas=some(QUEUE_SECONDS), queued=some(ADMISSION_SECONDS) if queue else {})


def _resends(random: Random, intents: tuple[Intent, ...]) -> list[tuple[float, str]]:
    """Of a third of all worlds. Two operators may ask for one name at once."""
    if random.random() > 1 / 3:
        return []
    return [(random.random() * 90, each.name) for each in intents for _ in range(random.choice((0, 1, 1, 2, 3)))]


def _weather(random: Random, servers: tuple[str, ...]) -> Weather:
    """Each kind of fault is absent, rare or frequent."""

    def often(most: float) -> float:
        return random.choice((0.0, most / 4, most))

    outages: dict[str, list[tuple[float, float]]] = {}
    for server in servers:
        if random.random() < 0.25:
            begin = random.random() * 70
            outages[server] = [(begin, begin + random.random() * 35)]
    return Weather(
        refused=often(0.05),
        lost_before=often(0.1),
        lost_after=often(0.12),
        late=often(0.08),
        twice=often(0.06),
        failing=often(0.1),
        throttled=often(0.08),
        cut=often(0.5),
        silent=often(0.3),
        stale=often(0.3),
        short_pages=often(0.6),
        expired=often(0.3),
        slow=often(0.1),
        outages=outages,
        until=STORM_SECONDS,
    )


def _kills(random: Random) -> list[tuple[float, str, float]]:
    whom = ("worker-1", "worker-2", "tracker-a", "tracker-b", "tracker-a", "tracker-b")
    kills = [
        (random.random() * 90, random.choice(whom), random.random() ** 2 * 15) for _ in range(random.randrange(1, 7))
    ]
    if random.random() < 0.2:
        at = random.random() * 60
        kills += [(at, each, random.random() * 10) for each in sorted(set(whom))]  # everything at once
    return sorted(kills)
