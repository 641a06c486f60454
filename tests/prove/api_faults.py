"""Faults of the API server's streams and of the server itself: no end is missed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from tests import cluster
from tests.prove.installation import Installation
from tests.prove.stage import Proof, Settings, Stage, mixed, nomad_programs, simulated_ends, stage
from tests.recorder.proxy import RecordingProxy, recording_proxy

ROUNDS = 4
FAULT_SECONDS = 12.0
"""How long requests come under each fault."""

DOWN_SECONDS = 5.0


def api_faults(settings: Settings) -> Proof:
    """Watches that are cut every second, answered by 410, or silent; then a server that is away for seconds."""
    with stage(settings) as opened:
        access = settings.cluster.kubernetes
        proxy: RecordingProxy = opened.enter(recording_proxy(access.url, access.ca))
        _, installation = simulated_ends(opened, seconds=0.2, server=proxy.url)
        return _through(opened, proxy, installation, _faults(settings, proxy), mixed(settings.ends // ROUNDS or 1))


def api_faults_nomad(settings: Settings) -> Proof:
    """Event streams of Nomad that are cut every second, or silent; then a server that is away for seconds."""
    with stage(settings) as opened:
        access = settings.cluster.nomad
        proxy: RecordingProxy = opened.enter(recording_proxy(access.url, access.ca))
        _, installation = nomad_programs(opened, server=proxy.url)
        cut, _, silent, away = _faults(msgspec.structs.replace(settings, restart_server=False), proxy)
        words = [each for each in mixed(settings.ends) if each[0] != "oom"]  # programs on the node have no limit
        return _through(opened, proxy, installation, [cut, silent, away], words[: settings.ends // ROUNDS or 1])


def _through(
    opened: Stage,
    proxy: RecordingProxy,
    installation: Installation,
    faults: Sequence[Callable[[], object]],
    words: Sequence[tuple[str, tuple[int, ...]]],
) -> Proof:
    """Ask for the same analyses under each fault, and wait for all results with the last faults still there."""
    for break_it in faults:
        proxy.cut_seconds, proxy.silent_seconds, proxy.gone_every = 0.0, 0.0, 0
        break_it()
        opened.client.analyses(words, seconds=FAULT_SECONDS)
    found = opened.settled(150, installation.restart_ended)
    injected = ", ".join(f"{kind} {count}" for kind, count in sorted(proxy.injected.items())) or "none"
    return Proof(found, (f"{proxy.watches} watches; faults: {injected}",))


def _faults(settings: Settings, proxy: RecordingProxy) -> list[Callable[[], object]]:
    def cut() -> None:
        proxy.cut_seconds = 1.0

    def gone() -> None:
        proxy.gone_every = 2
        proxy.cut_seconds = 2.0

    def silent() -> None:
        proxy.silent_seconds = 3.0

    def away() -> None:
        threading.Thread(target=restart, daemon=True).start()

    def restart() -> None:
        time.sleep(FAULT_SECONDS / 4)
        proxy.close_all()
        if settings.restart_server:
            _restart_api_server()
        else:
            time.sleep(DOWN_SECONDS)
        proxy.closed = False

    return [cut, gone, silent, away]


def _restart_api_server() -> None:
    """kill -9 of the API server. The cluster's own `up` repairs it."""
    pids, _ = cluster.status()
    if pid := pids["kube-apiserver"]:
        os.kill(pid, signal.SIGKILL)
    cluster.up()
