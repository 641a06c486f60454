"""The tracker on a real API server: from the event that shows an end to the request at atlas, in bursts, and idle.

No container runs: the statuses of pods are set through the API (tests.prove.kubelet), and thousands of ended jobs are
copies of a real one. Alone, with other sizes and other code: `python -m tests.bench.tracker --help`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import queue
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jwt
import msgspec
import urllib3
import yaml
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests import cluster
from tests.bench.api_server import NAMESPACE
from tests.bench.figures import Figure
from tests.bench.stack import ROOT
from tests.prove.copies import copy, documents
from tests.prove.installation import Child, Installation, base_sections, keys, kubernetes_sections
from tests.prove.kubelet import Kubelet
from tests.prove.stage import Settings, Stage, simulated_ends, stage
from tests.recorder.deliveries import recording_atlas
from tests.recorder.proxy import Request, recording_proxy
from tests.recorder.rest import Api
from tests.recorder.watch import PodWatch

CLIENTS = 16
"""Threads of the bare client, and of what fills the cluster."""

WAIT_SECONDS = 180.0


class Sizes(msgspec.Struct, frozen=True):
    """How many of each. The bounds hold for the defaults."""

    single: int = 100
    burst: int = 1000
    simulated: int = 10_000
    rounds: int = 3
    retained: int = 9000
    pending: int = 1000
    idle_seconds: float = 60.0
    counted: int = 50


def tracker(work: Path, sizes: Sizes | None = None, code: Path | None = None) -> Iterator[Figure]:
    """From the event that shows an end to the request at atlas; bursts; an idle tracker; a restart; writes per job."""
    if reason := cluster.missing():
        sys.exit(f"this measure needs the test cluster: {reason}")
    sizes = sizes or Sizes()
    settings = Settings(cluster=cluster.up(), code=(code or Path()).resolve())
    yield from _single(settings, sizes)
    yield from _bursts(settings, sizes)
    yield from _simulated_bursts(settings.code, sizes)
    yield from _writes(settings, sizes)
    yield from _restarted(settings, sizes)


def _single(settings: Settings, sizes: Sizes) -> Iterator[Figure]:
    """One end at a time: the others are far away."""
    with stage(settings) as opened:
        kubelet, _ = simulated_ends(opened, seconds=None)
        names, runs = _running(opened, kubelet, sizes.single)
        with _watched(opened) as watch:
            for number, name in enumerate(names, 1):
                kubelet.finish([name])
                _await(lambda number=number: len(opened.atlas.accepted()) >= number)  # type: ignore[misc]
                time.sleep(0.05)
            delays = sorted(
                (each.at - watch.first_end[runs[each.run_id]]) * 1000
                for each in opened.atlas.accepted()
                if each.run_id in runs
            )
    note = f"{len(delays)} ends, p50 {statistics.median(delays):.0f} ms, longest {delays[-1]:.0f} ms"
    yield Figure("from the event to atlas, p99", delays[int(len(delays) * 0.99) - 1], "ms", 250, note=note)


def _bursts(settings: Settings, sizes: Sizes) -> Iterator[Figure]:
    """The time from the first event to the last request, relative to a bare client, in alternating rounds."""
    rounds = []
    for number in range(sizes.rounds):
        order = (_bare_burst, _our_burst) if number % 2 else (_our_burst, _bare_burst)
        times = {measure: measure(settings, sizes.burst) for measure in order}
        rounds.append((times[_our_burst], times[_bare_burst]))
    note = ", ".join(f"{ours:.1f} s:{bare:.1f} s" for ours, bare in rounds)
    ratio = statistics.median(ours / bare for ours, bare in rounds)
    yield Figure(f"{sizes.burst} ends, relative to the bare client", ratio, "", 1.5, note=note)


def _our_burst(settings: Settings, count: int) -> float:
    with stage(settings) as opened:
        kubelet, _ = simulated_ends(opened, seconds=None)
        return _burst(opened, kubelet, count)


def _bare_burst(settings: Settings, count: int) -> float:
    with stage(settings) as opened:
        kubelet, _ = simulated_ends(opened, seconds=None, trackers=0)
        place = opened.kubernetes_places[0]
        access = settings.cluster.kubernetes
        arguments = (access.url, str(access.ca), access.token, place.path("pods"), opened.atlas.url, keys()[0])
        child = multiprocessing.get_context("spawn").Process(target=_bare_client, args=arguments, daemon=True)
        child.start()
        try:
            return _burst(opened, kubelet, count)
        finally:
            child.kill()
            child.join()


def _burst(opened: Stage, kubelet: Kubelet, count: int) -> float:
    """Seconds from the first event that shows an end to the last request at atlas."""
    names, _ = _running(opened, kubelet, count)
    time.sleep(3)  # what watches has caught up
    with _watched(opened) as watch:
        kubelet.finish(names)
        _await(lambda: len(opened.atlas.accepted()) >= count)
        _await(lambda: len(watch.first_end) >= count)
        return max(each.at for each in opened.atlas.accepted()) - min(watch.first_end.values())


def _simulated_bursts(code: Path, sizes: Sizes) -> Iterator[Figure]:
    """The same on a simulated API server, whose ends all come at once."""
    times: dict[bool, list[float]] = {False: [], True: []}
    for number in range(sizes.rounds):
        for bare in (True, False) if number % 2 else (False, True):
            times[bare].append(_simulated_burst(code, sizes.simulated, bare=bare))
    pairs = list(zip(times[False], times[True], strict=True))
    note = ", ".join(f"{ours:.1f} s:{bare:.1f} s" for ours, bare in pairs)
    ratio = statistics.median(ours / bare for ours, bare in pairs)
    yield Figure(f"{sizes.simulated} simulated ends, relative to it", ratio, "", 1.5, note=note)


def _simulated_burst(code: Path, count: int, *, bare: bool) -> float:
    """Seconds from the first event to the last request at atlas."""
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrator-bench-")))
        atlas = stack.enter_context(recording_atlas(work))
        command = (sys.executable, "-m", "tests.bench.api_server", str(count))
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        server = stack.enter_context(subprocess.Popen(command, cwd=ROOT, **pipes))
        stack.callback(server.kill)
        assert server.stdin is not None
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        if bare:
            arguments = (url, "unused", "token", f"/api/v1/namespaces/{NAMESPACE}/pods", atlas.url, keys()[0])
            child = multiprocessing.get_context("spawn").Process(target=_bare_client, args=arguments, daemon=True)
            child.start()
            stack.callback(child.kill)
        else:
            stack.callback(_tracker_of(code, work, url, atlas.url).stop)
        time.sleep(5 + count / 1000)  # it has listed everything
        server.stdin.write("end\n")
        server.stdin.flush()
        began = float(server.stdout.readline())
        _await(lambda: len(atlas.accepted()) >= count)
        return max(each.at for each in atlas.accepted()) - began


def _tracker_of(code: Path, work: Path, server: str, atlas: str) -> Child:
    """A tracker for the simulated API server."""
    named = {"cluster": "bench", "user": "bench"}
    kubeconfig = {
        "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": {"server": server}}],
        "users": [{"name": "bench", "user": {"token": "token"}}],
        "contexts": [{"name": "bench", "context": named}],
    }
    kubernetes = {"namespace": NAMESPACE, "kubeconfig": str(work / "kubeconfig")}
    sections = {**base_sections(atlas), "driver": "kubernetes", "kubernetes": kubernetes}
    for name, document in (("kubeconfig", kubeconfig), ("config", sections)):
        path = work / name
        path.touch(0o600)
        path.write_text(yaml.safe_dump(document))
    return Child(code, ("-m", "runner", "track", "--config", str(work / "config")), work / "log", {})


def _bare_client(url: str, ca: str, token: str, path: str, atlas: str, private_key: str) -> None:
    """Runs in a process of its own: watches pods, and POSTs one result with a signed token for each end."""
    key: Any = load_pem_private_key(private_key.encode(), None)
    ended: queue.SimpleQueue[str] = queue.SimpleQueue()
    pool = urllib3.PoolManager(CLIENTS, maxsize=CLIENTS)

    def publish() -> None:
        while True:
            name = ended.get()
            claims = {"exp": int(time.time()) + 300, "run_id": name, "scope": "analysis.*", "job": name}
            headers = {"Authorization": f"Bearer {jwt.encode(claims, key, algorithm='RS256')}"}
            status = {"code": 5107, "hmessage": "The analyzer has failed.", "err": "exit code 3"}
            body = {"id": str(uuid.uuid4()), "task": "bare", "kwargs": {"run_id": name, "status": status}, "retries": 0}
            pool.request("POST", f"{atlas}/bare", body=msgspec.json.encode(body), headers=headers)

    for _ in range(CLIENTS):
        threading.Thread(target=publish, daemon=True).start()
    watch = _Ends(Api(url, Path(ca), {"Authorization": f"Bearer {token}"}), path, ended)
    watch.run()


class _Ends:
    """Puts the name of each job into a queue, once, when its pod has ended."""

    def __init__(self, api: Api, path: str, ended: queue.SimpleQueue[str]) -> None:
        self._watch = PodWatch(api, path, self._seen)
        self._ended = ended
        self._known: set[str] = set()

    def run(self) -> None:
        threading.Event().wait()

    def _seen(self, kind: str, pod: dict[str, Any]) -> None:
        name = pod["metadata"]["name"]
        if pod["status"].get("phase") in ("Failed", "Succeeded") and name not in self._known:
            self._known.add(name)
            self._ended.put(name)


def _writes(settings: Settings, sizes: Sizes) -> Iterator[Figure]:
    """The Orchestrator's own writes for each job, from its request to its mark. Renewing a Lease is none of a job's."""
    with stage(settings) as opened:
        access = settings.cluster.kubernetes
        proxy = opened.enter(recording_proxy(access.url, access.ca))
        simulated_ends(opened, seconds=0.2, server=proxy.url)
        opened.client.analyses([("exit3", (5107,))] * sizes.counted)
        _await(lambda: len(opened.atlas.accepted()) >= sizes.counted)
        time.sleep(5)  # the last marks
        writes = [each for each in proxy.requests if each.writes and each.resource != "leases"]
    kinds = {(each.verb, each.resource): 0 for each in writes}
    for each in writes:
        kinds[each.verb, each.resource] += 1
    note = ", ".join(f"{verb} {resource} {count}" for (verb, resource), count in sorted(kinds.items()))
    yield Figure("API writes per job", len(writes) / sizes.counted, "", 4, note=note)


def _restarted(settings: Settings, sizes: Sizes) -> Iterator[Figure]:
    """A tracker that starts before thousands of ended jobs, and then has nothing to do."""
    with stage(settings) as opened:
        access = settings.cluster.kubernetes
        proxy = opened.enter(recording_proxy(access.url, access.ca))
        place = opened.kubernetes()
        kubelet = opened.kubelet(0.2)
        sections = kubernetes_sections(place, {"simulated": kubelet.pool()})
        installation = opened.install(sections)
        _fill(opened, installation, sizes)
        before = len(opened.atlas.accepted())
        began = time.monotonic()
        through = kubernetes_sections(place, {"simulated": kubelet.pool()}, proxy.url)
        child = installation.add_tracker(**{**base_sections(opened.atlas.url), **through})
        _await(lambda: len(opened.atlas.accepted()) >= before + sizes.pending)
        took = time.monotonic() - began
        lists = [each for each in proxy.requests if _begins_a_list(each)]
        count = sizes.retained + sizes.pending
        kinds = sorted({each.resource for each in lists})
        note = f"{sizes.pending} results in {took:.1f} s; {len(lists)} lists of {', '.join(kinds)}"
        yield Figure(f"restart with {count} jobs, memory", child.peak_mib(), "MiB", 150, note=note)
        most = max([sum(each.resource == kind for each in lists) for kind in kinds], default=0)
        yield Figure(f"restart with {count} jobs, lists of one kind", most, "", 1)
        yield from _idle(child, sizes, lambda since: [each for each in proxy.requests if each.at >= since])


def _idle(child: Child, sizes: Sizes, requests: Callable[[float], list[Request]]) -> Iterator[Figure]:
    time.sleep(20)  # marks and what follows them
    since, spent = time.monotonic(), child.cpu_seconds()
    time.sleep(sizes.idle_seconds)
    share = (child.cpu_seconds() - spent) / sizes.idle_seconds
    lists = [each for each in requests(since) if _begins_a_list(each)]
    name = f"idle with {sizes.retained + sizes.pending} jobs"
    yield Figure(f"{name}, share of a core", share * 100, "%", 1)
    yield Figure(f"{name}, lists in {sizes.idle_seconds:.0f} s", len(lists), "", 2, note="those of a resync")


def _begins_a_list(request: Request) -> bool:
    """A list of all jobs or pods. Its further pages do not count, nor do lists of one job's pods or events."""
    of_all = not any(part in request.path for part in ("continue=", "job-name=", "job-name%3D", "fieldSelector="))
    return request.verb == "list" and request.resource in ("jobs", "pods") and of_all


def _fill(opened: Stage, installation: Installation, sizes: Sizes) -> None:
    """Copy one job that has ended and is not reported, and one that is, with their pods. No tracker runs after it."""
    opened.atlas.behave("refuse")
    run = opened.client.run_id("exit3")
    name = opened.client.analysis("exit3", (5107,), run_id=run).name
    place = opened.kubernetes_places[0]
    path = place.path("jobs", name)
    _await(lambda: _failed(place.api.call("GET", path)))
    pending = documents(place, name)
    opened.atlas.behave("accept")
    _await(lambda: place.api.call("GET", path)["spec"].get("ttlSecondsAfterFinished"))
    reported = documents(place, name)
    copies = [reported] * sizes.retained + [pending] * sizes.pending
    installation.trackers[0].stop()
    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(lambda item: copy(place, item[1], run, item[0]), enumerate(copies)))


def _failed(job: dict[str, Any]) -> bool:
    return any(each["type"] == "Failed" for each in job["status"].get("conditions", ()))


def _running(opened: Stage, kubelet: Kubelet, count: int) -> tuple[list[str], dict[str, str]]:
    """Ask for so many analyses and wait until all of them run. Returns their names, and the names by run."""
    asked = opened.client.analyses([("exit3", (5107,))] * count)
    _await(lambda: len(kubelet.pods) >= count)
    return [each.name for each in asked], {each.run_id: each.name for each in asked}


class _watched:  # noqa: N801  (a context manager, used like a function)
    """An independent watcher of the scenario's namespace."""

    def __init__(self, opened: Stage) -> None:
        place = opened.kubernetes_places[0]
        self._watch = PodWatch(place.api, place.path("pods"))

    def __enter__(self) -> PodWatch:
        _await(lambda: self._watch.sessions)
        return self._watch

    def __exit__(self, *_: object) -> None:
        self._watch.close()


def _await(condition: Callable[[], object]) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"not within {WAIT_SECONDS} s")
        time.sleep(0.005)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tracker", description=tracker.__doc__)
    parser.add_argument("--code", type=Path, default=Path(), help="the directory of the code under test")
    for name in Sizes.__struct_fields__:
        default = getattr(Sizes(), name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    chosen = vars(parser.parse_args())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that everything is cleared away
    code = chosen.pop("code")
    met = True
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as directory:
        for figure in tracker(Path(directory), Sizes(**chosen), code):
            print(f"  {figure}", flush=True)
            met = met and figure.met
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
