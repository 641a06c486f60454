"""atlas refuses, hangs, fails and is slow while results are pending: all arrive, once, and memory stays as it was."""

from __future__ import annotations

import threading
import time

from tests.prove.installation import Child
from tests.prove.stage import Proof, Settings, mixed, simulated_ends, stage

MODES = ("refuse", "hang", "fail 500", "slow 5")
ARRIVE_SECONDS = 60.0
"""Once atlas is back, everything that is pending follows within so long."""

GROWTH_MIB = 20.0
"""How much memory may grow while results are pending: a small record for each, whatever happens."""


class Memory:
    """Samples the memory of one process, every few seconds, in a thread."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._ended = threading.Event()
        self.samples: list[float] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while not self._ended.wait(2):
            self.samples.append(self._child.memory_mib())

    def grown(self) -> float:
        """MiB from the first quarter of the samples to the last."""
        self._ended.set()
        quarter = max(1, len(self.samples) // 4)
        return max(self.samples[-quarter:], default=0.0) - max(self.samples[:quarter], default=0.0)


def atlas_outage(settings: Settings) -> Proof:
    """Every end comes while atlas is away. The minutes are shared by the ways in which it can be away."""
    with stage(settings) as opened:
        kubelet, installation = simulated_ends(opened, seconds=None)
        opened.client.analyses(mixed(settings.ends))
        share = settings.minutes * 60 / len(MODES)
        opened.atlas.behave(MODES[0])
        kubelet.finish_all()
        time.sleep(min(10.0, share))
        memory = Memory(installation.trackers[0])
        opened.atlas.follow([(share, mode) for mode in MODES])
        grown = memory.grown()
        requests = len(opened.atlas.deliveries())
        opened.atlas.behave("accept")
        back = time.monotonic()
        found = opened.settled(max(ARRIVE_SECONDS, settings.ends / 20))
        late = max((each.at for each in opened.atlas.accepted()), default=back) - back
    failures = []
    if late > ARRIVE_SECONDS:
        failures.append(
            f"the last result arrived {late:.0f} s after atlas was back; {ARRIVE_SECONDS:.0f} s are allowed"
        )
    if grown > GROWTH_MIB:
        failures.append(f"memory grew by {grown:.0f} MiB; {GROWTH_MIB:.0f} MiB are allowed")
    note = f"{requests} requests during the outage; the last result {late:.1f} s after it; memory {grown:+.1f} MiB"
    return Proof(found, (note,), tuple(failures))
