"""Two replicas on one namespace: each end has one result."""

from __future__ import annotations

from tests.prove.stage import Proof, Settings, mixed, simulated_ends, stage


def replicas(settings: Settings) -> Proof:
    """Two trackers that share no file, as on two hosts. Not one result may come twice."""
    with stage(settings) as opened:
        simulated_ends(opened, seconds=0.5, trackers=2)
        opened.client.analyses(mixed(settings.ends))
        found = opened.settled(90)
    failures = (f"{found.doubled} results came twice",) if found.doubled else ()
    return Proof(found, (), failures)
