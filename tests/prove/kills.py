"""kill -9 of a tracker, the leader or everything at random moments: nothing is lost, and little is sent twice."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from contextlib import suppress

import urllib3

from tests.prove.installation import Child, Installation
from tests.prove.stage import Proof, Settings, Stage, mixed, simulated_ends, stage
from tests.recorder.rest import ApiError

PAUSE_SECONDS = 30.0
"""The next kill follows at a random moment within so many seconds: twice the time in which another tracker leads. So
kills meet trackers that publish what is pending, that follow one end after the other, that wait, and that start."""

DOWN_SECONDS = 2.0
"""What was killed is started again at a random moment within so many seconds."""

ENDS_PER_SECOND = 10
SHORTEST_SECONDS = 30.0
"""How long requests come, and ends with them, so that the kills meet all moments of a job."""

LATE_SECONDS = 90.0
"""How long the kills go on after the last request until most results have come."""

DOUBLED = 0.01
"""Results that may be sent again under their id, as a share of all; or DOUBLED_FEW, if those are fewer."""

DOUBLED_FEW = 2


class Killer:
    """Kills processes in a thread until `stop`, and starts them again."""

    def __init__(self, opened: Stage, installation: Installation, source: random.Random) -> None:
        self._place = opened.kubernetes_places[0]
        self._installation = installation
        self._random = source
        self._ended = threading.Event()
        self.killed: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(60)
        self._installation.restart_ended()

    def _run(self) -> None:
        while not self._ended.wait(self._random.uniform(0, PAUSE_SECONDS)):
            what = self._random.choice(("tracker", "leader", "everything"))
            victims = self._victims(what)
            self.killed[what] += 1
            for child in victims:
                child.kill()
            self._ended.wait(self._random.uniform(0, DOWN_SECONDS))
            for child in victims:
                child.start()
            self._installation.restart_ended()

    def _holder(self) -> str:
        """Who leads; empty if the API server does not say."""
        with suppress(ApiError, urllib3.exceptions.HTTPError):
            return self._place.leader()
        return ""

    def _victims(self, what: str) -> list[Child]:
        if what == "everything":
            return list(self._installation.children)
        if what == "leader":
            holder = self._holder()
            leaders = [each for each in self._installation.trackers if f"-{each.pid}-" in holder]
            if leaders:
                return leaders
        return [self._random.choice(self._installation.trackers)]


def kills(settings: Settings) -> Proof:
    """kill -9 of trackers, the leader and everything, at moments that the seed decides."""
    with stage(settings) as opened:
        _, installation = simulated_ends(opened, seconds=0.5, trackers=2)
        killer = Killer(opened, installation, settings.random("kills"))
        seconds = max(SHORTEST_SECONDS, settings.ends / ENDS_PER_SECOND)
        opened.client.analyses(mixed(settings.ends), seconds=seconds)
        until = time.monotonic() + LATE_SECONDS
        while 3 * opened.table(jobs=()).missing > settings.ends and time.monotonic() < until:
            time.sleep(0.5)
        killer.stop()
        found = opened.settled(120, installation.restart_ended)
        exits = sum(child.exits for child in installation.children)
    failures = []
    if found.doubled > max(DOUBLED_FEW, DOUBLED * found.results):
        failures.append(f"{found.doubled_share:.1%} of the results were sent again; at most {DOUBLED:.0%} may be")
    notes = ", ".join(f"{count} times {what}" for what, count in sorted(killer.killed.items())) or "nothing"
    return Proof(found, (f"killed {notes}; {exits} processes ended by themselves",), tuple(failures))
