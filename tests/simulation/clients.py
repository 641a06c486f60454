"""Clients of our processes: they submit, repeat until they get a 2xx, and cancel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from runner.drivers.driver import Driver
from runner.errors import OrchestratorError
from runner.jobs import Cancellation, Container, Deadlines, JobSpec, Report, Resources, SecretRef, TokenClaims, Volume
from runner.runtime.clock import Deadline
from tests.simulation.checker.promises import cancel_id, run_id
from tests.simulation.history import Command, History
from tests.simulation.scheduler import Process, Scheduler, Ticket
from tests.simulation.seams.outside import VirtualClock

ANSWER_SECONDS = 15.0
"""A worker's deadline for one command."""

GIVE_UP = 200
"""Attempts of one client; it never needs so many."""

_SIZE = Resources(cpu=500, memory=256)


class Worker:
    """A process that owns drivers. A kill loses the commands that it carries out."""

    def __init__(self, scheduler: Scheduler, name: str, boot: Callable[[Process], dict[str, Driver]]) -> None:
        self._scheduler = scheduler
        self._name = name
        self._boot = boot
        self._generation = 0
        self._tickets: list[Ticket] = []
        self.start()

    def start(self) -> None:
        """Start it, again if it was killed."""
        self._generation += 1
        self.process = Process(self._scheduler, f"{self._name}.{self._generation}")
        self._drivers = self._boot(self.process)

    def kill(self) -> None:
        self.process.kill()
        for ticket in self._tickets:
            ticket.wake(None)

    def carry_out(self, what: str, command: Callable[[dict[str, Driver], Deadline], str]) -> tuple[str, str]:
        """The state and the error of a command; both empty if the worker died."""
        if not self.process.alive:
            self._scheduler.pause(0.05, "a client finds no worker")
            return "", "no worker"
        ticket = Ticket(self._scheduler, "a client gets its answer")
        self._tickets = [each for each in self._tickets if not each.done] + [ticket]
        clock, drivers = VirtualClock(self._scheduler, self.process), self._drivers

        def run() -> None:
            try:
                ticket.wake((command(drivers, Deadline.after(ANSWER_SECONDS, clock)), ""))
            except OrchestratorError as error:
                ticket.wake(("", f"{error.code}: {error.detail}"))

        self.process.start(what, run)
        return self._scheduler.wait(ticket, ANSWER_SECONDS + 3) or ("", "no answer")


@dataclass(frozen=True)
class Client:
    """Sends one request until it gets a 2xx."""

    scheduler: Scheduler
    history: History
    workers: list[Worker]

    def submit(self, name: str, pools: tuple[str, ...], driver_of: Callable[[str], str]) -> None:
        """Ask for the job. A repeat may be sent with another pool."""

        def command(drivers: dict[str, Driver], deadline: Deadline) -> str:
            pool = self.scheduler.random.choice(pools)
            return drivers[driver_of(pool)].submit(job(name, pool), deadline)

        self._until_accepted("submit", name, command)

    def cancel(self, name: str) -> None:
        """Ask for the cancellation, with every driver, as the sidecar does."""

        def command(drivers: dict[str, Driver], deadline: Deadline) -> str:
            for tombstone in (False, True):
                states = [each.cancel(cancellation(name), deadline, tombstone=tombstone) for each in drivers.values()]
                if found := next(filter(None, states), None):
                    return found
            raise AssertionError("no driver took the cancellation")

        self._until_accepted("cancel", name, command)

    def _until_accepted(self, kind: str, name: str, command: Callable[[dict[str, Driver], Deadline], str]) -> None:
        pause = 0.3
        for _ in range(GIVE_UP):
            worker = self.scheduler.random.choice(self.workers)
            began = self.scheduler.now
            state, error = worker.carry_out(f"{kind} {name}", command)
            self.history.commands.append(Command(began, self.scheduler.now, kind, name, state, error))
            if state:
                return
            if error.startswith(("conflict", "rejected", "invalid")):
                raise AssertionError(f"{kind} {name}: {error}")
            self.scheduler.pause(pause * (0.5 + self.scheduler.random.random()), "a client repeats")
            pause = min(pause * 2, 8.0)
        raise AssertionError(f"{kind} {name} was never accepted")


def job(name: str, pool: str) -> JobSpec:
    """The job of that name: coat, then marvin, and a result token."""
    token = "RESULT_HTTP_TOKEN"
    coat = Container(
        name="coat",
        image="coat:1",
        command=("coat",),
        args=(),
        env=((token, SecretRef(name=token)),),
        requests=_SIZE,
        limits=_SIZE,
    )
    marvin = Container(
        name="marvin",
        image="marvin:1",
        command=("marvin",),
        args=(),
        env=((token, SecretRef(name=token)),),
        requests=_SIZE,
        limits=_SIZE,
    )
    return JobSpec(
        name=name,
        fingerprint=f"fingerprint of {name}",
        pool=pool,
        labels={"application": name, "manager": "runner"},
        pod_labels={"application": name, "role": "analysis", "analyzer": "python"},
        init=coat,
        main=marvin,
        volumes=(Volume(name="codedir", path="/code"),),
        deadlines=Deadlines(queue=40, clone=30, run=60),
        report=_report("analysis_run", run_id(name), "analysis/results", "store_analysis_run_result"),
        secrets={token: TokenClaims(scope="analysis.*", run_id=run_id(name), job=name, lifetime=600)},
    )


def cancellation(name: str) -> Cancellation:
    """Its cancellation."""
    report = _report("cancel_check_run", cancel_id(name), "cancel-check/results", "confirm_check_cancellation")
    return Cancellation(name=name, labels={"application": name, "manager": "runner"}, report=report)


def _report(request_type: str, run: str, path: str, task: str) -> Report:
    return Report(
        request_type=request_type,
        run_id=run,
        path=f"/api/runner/{path}",
        task=f"contrib.atlas.tasks.{task}",
        scope="analysis.*",
        check_seq="1",
        analyzer="python",
    )


@dataclass(frozen=True)
class Intent:
    """What clients want of one name: when each request is first sent, in seconds."""

    name: str
    submits: tuple[float, ...]
    cancels: tuple[float, ...]

    @classmethod
    def drawn(cls, name: str, random: Random) -> Intent:
        first = random.random() * 15
        submits = [first] if random.random() < 0.95 else []
        if random.random() < 0.2:
            submits.append(first + random.random() * 0.5)  # two clients at once
        if random.random() < 0.3:
            submits.append(first + random.random() * 90)  # a late repeat
        cancels: list[float] = []
        if random.random() < 0.4 or not submits:
            around = max(0.0, first - 3 + random.random() ** 2 * 70)
            cancels = [around + each * random.random() * 10 for each in range(random.choice((1, 1, 2, 3)))]
        return cls(name, tuple(submits), tuple(cancels))
