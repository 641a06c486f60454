"""Every reason that can be provoked, on each engine: reported once, with the right code.

On Kubernetes most ends are real containers under a real kubelet. What a single healthy node cannot show (a reboot, a
rejecting kubelet, injected containers) comes from a node without a kubelet, on the same API server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from tests.harness.processes import eventually
from tests.prove.images import BROKEN, PATH, loaded
from tests.prove.installation import kubernetes_sections, nomad_sections
from tests.prove.places import KubernetesPlace, NomadPlace
from tests.prove.requests import Client
from tests.prove.stage import Proof, Settings, Stage, nomad_programs, stage
from tests.recorder.rest import MERGE_PATCH, ApiError
from tests.recorder.table import Asked

LIMITS = {"queueSeconds": 120, "cloneSeconds": 60, "imageSeconds": 10, "registrySeconds": 20}
NEVER_START = {**LIMITS, "queueSeconds": 25}
"""For jobs that no node takes. The others may wait longer for a busy one."""

SETTLE_SECONDS = 180.0
FIRST_SECONDS = 45.0
START_SECONDS = 120.0
SEEN_SECONDS = 3.0
"""How long jobs run before something happens to them: a tracker that lists sees them once."""

REAL = {"ok": (), "exit3": (5107,), "clone": (5103,), "killed": (5107,), "oom": (5104,)}
"""Codes by the word of the run id; none: nothing is reported."""

SIMULATED = {
    "initoom": (5104,),
    "start": (5108,),
    "rebooted": (5106,),
    "outofmemory": (5106,),
    "affinity": (5106,),
    "disk": (5110,),
    "nativesidecar": (5107,),
    "injectedinit": (5103,),
    "injectedgood": (5107,),
    "injectedbad": (),
    "openok": (),
    "openexit3": (5107,),
}


def reasons_kubernetes(settings: Settings) -> Proof:
    """Every reason on Kubernetes, each from one job."""
    with stage(settings) as opened:
        host = opened.enter(loaded())
        place = opened.kubernetes()
        small = opened.kubernetes(_limit_range({"default": {"ephemeral-storage": "50Mi"}}), account=place.name)
        pools = {"real": {}, "simulated": opened.kubelet(0.5).pool(), "small": {"namespace": small.name}}
        opened.install(kubernetes_sections(place, pools, images=f"{host}/{PATH}"), limits=LIMITS)
        _misconfigured(opened, host)
        client = opened.client
        held = _held(client, _HELD)
        for word, codes in REAL.items():
            client.analysis(word, codes)
        for word, codes in SIMULATED.items():
            client.analysis(word, codes, pool="simulated")
        client.analysis("absent", (5101,), version="absent")
        client.analysis("disk", (5110,), pool="small")
        _disturb(client, held, {kind: _on_kubernetes(place, kind) for kind in held}, _runs_on_kubernetes(place))
        return _proof(opened)


_HELD: dict[str, tuple[str, tuple[int, ...]]] = {
    "pod deleted": ("hold", (5106,)),
    "pod of a program in Go deleted": ("quits", (5106,)),
    "job deleted": ("hold", (5109,)),
    "overdue": ("hold", (5105,)),
    "cancelled": ("hold", ()),
}
"""Jobs that run until something happens to them: the words of their run ids, and their codes."""


def _held(client: Client, kinds: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, Asked]:
    return {kind: client.analysis(word, codes) for kind, (word, codes) in kinds.items()}


def _misconfigured(opened: Stage, host: str) -> None:
    """Two installations with errors: images without their program, and a Secret that does not exist.

    Their pods come first: later ones may find the node full, and would then rightly be unschedulable. The second one
    also has the jobs that no node takes.
    """
    place = opened.kubernetes()
    opened.install(kubernetes_sections(place, {"real": {}}, images=f"{host}/{BROKEN}"), limits=LIMITS)
    opened.clients[-1].analysis("start", (5108,))
    place = opened.kubernetes()
    full = opened.kubernetes(
        _limit_range({"max": {"memory": "16Mi"}, "default": {"memory": "16Mi"}}), account=place.name
    )
    sections = kubernetes_sections(place, {"real": {}, "full": {"namespace": full.name}}, images=f"{host}/{PATH}")
    opened.install(sections, limits=NEVER_START, artifactSecretName="not-there")
    opened.clients[-1].analysis("secret", (5108,))
    opened.clients[-1].analysis("huge", (5102,), cpu_limit="250000")
    opened.clients[-1].analysis("full", (5111,), pool="full")
    with suppress(AssertionError):  # the table says what is missing
        eventually(lambda: len(_codes(opened)) >= 2, "both are reported", FIRST_SECONDS)


def _limit_range(limit: dict[str, Any]) -> dict[str, Any]:
    limits = [{"type": "Container", **limit}]
    return {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "prove"}, "spec": {"limits": limits}}


def _on_kubernetes(place: KubernetesPlace, kind: str) -> Callable[[str], object]:
    """What somebody else does to a job that runs."""

    def delete_pod(name: str) -> None:
        for pod in place.api.call("GET", place.path("pods"), labelSelector=f"job-name={name}")["items"]:
            place.delete("pods", pod["metadata"]["name"])

    def shorten(name: str) -> None:
        patch = {"spec": {"activeDeadlineSeconds": 1}}
        place.api.call("PATCH", place.path("jobs", name), patch, MERGE_PATCH)

    actions: dict[str, Callable[[str], object]] = {
        "pod deleted": delete_pod,
        "pod of a program in Go deleted": delete_pod,
        "job deleted": lambda name: place.delete("jobs", name),
        "overdue": shorten,
    }
    return actions.get(kind, lambda name: None)


def _runs_on_kubernetes(place: KubernetesPlace) -> Callable[[str], bool]:
    def runs(name: str) -> bool:
        pods = place.api.call("GET", place.path("pods"), labelSelector=f"job-name={name}")["items"]
        states = [each["state"] for pod in pods for each in pod["status"].get("containerStatuses", ())]
        return any("running" in state for state in states)

    return runs


def _disturb(
    client: Client,
    held: dict[str, Asked],
    actions: dict[str, Callable[[str], object]],
    runs: Callable[[str], bool],
) -> None:
    """Wait until the held jobs run, then do to each what its kind says. Cancel the one for that."""
    for asked in held.values():
        eventually(lambda asked=asked: runs(asked.name), f"{asked.name} runs", START_SECONDS)  # type: ignore[misc]
    time.sleep(SEEN_SECONDS)
    for kind, asked in held.items():
        actions[kind](asked.name)
        if kind == "cancelled":
            client.cancel(asked.run_id)


def _proof(opened: Stage) -> Proof:
    """Cancel a run that has ended, wait for everything, and list each code."""
    client = opened.client
    ended = next(each for each in client.asked if each.run_id.startswith("exit3-"))
    eventually(lambda: ended.run_id in _codes(opened), f"{ended.run_id} is reported", START_SECONDS)
    client.cancel(ended.run_id, (5001,))
    found = opened.settled(SETTLE_SECONDS)
    codes = _codes(opened)
    asked = [each for one in opened.clients for each in one.asked]
    notes = [f"{each.run_id}: {codes.get(each.run_id, '-')}, right: {each.codes or '-'}" for each in asked]
    return Proof(found, tuple(sorted(notes)))


def _codes(opened: Stage) -> dict[str, int | None]:
    return {each.run_id: each.code for each in opened.atlas.accepted()}


def reasons_nomad(settings: Settings) -> Proof:
    """Every reason on Nomad, from programs on the node and from containers."""
    with stage(settings) as opened:
        host = opened.enter(loaded())
        place, _ = nomad_programs(opened, limits=LIMITS)
        client = opened.client
        held = _held(client, {kind: _HELD[kind] for kind in ("job deleted", "cancelled")})
        for word in ("ok", "exit3", "clone", "killed"):
            client.analysis(word, REAL[word])
        _containers(opened, f"{host}/{PATH}", ("ok", "exit3", "oom", "absent"), LIMITS)
        _containers(opened, f"{host}/{BROKEN}", ("start",), NEVER_START)
        opened.clients[-1].analysis("huge", (5102,), memory_limit="1000000")
        actions: dict[str, Callable[[str], object]] = {"job deleted": place.purge, "cancelled": lambda name: None}
        _disturb(client, held, actions, _runs_on_nomad(place))
        return _proof(opened)


def _containers(opened: Stage, images: str, words: tuple[str, ...], limits: Mapping[str, int]) -> None:
    """An installation whose jobs are containers on Nomad."""
    sections = nomad_sections(opened.nomad(), {}, task_driver="docker")
    registry = {"kubernetes": {"imageRegistry": {"registryUrl": images}}}
    opened.install({**sections, **registry}, limits=limits)
    codes = {**REAL, "absent": (5101,), "start": (5108,)}
    for word in words:
        opened.clients[-1].analysis(word, codes[word], version="absent" if word == "absent" else "dev")


def _runs_on_nomad(place: NomadPlace) -> Callable[[str], bool]:
    def runs(name: str) -> bool:
        try:
            allocations = place.api.call("GET", f"/v1/job/{name}/allocations", namespace=place.name)
        except ApiError:
            return False
        tasks = [each["TaskStates"] or {} for each in allocations]
        return any(states.get("marvin", {}).get("State") == "running" for states in tasks)

    return runs
