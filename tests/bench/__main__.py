"""`python -m tests.bench [NAME …]`: measure, print each figure with its bound, exit with 1 if a bound is missed."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import yaml

from tests.bench import clusters, dry_run, grpc_load, jobs_list, load, rabbitmq, stack
from tests.bench import metrics as bench_metrics
from tests.bench.figures import Figure, signature_seconds
from tests.bench.tracker import tracker
from tests.conftest import make_key_pair

ROUNDS = 5
SECONDS = 4
GROWTH_REQUESTS = 100_000


def http(work: Path) -> Iterator[Figure]:
    """HTTP requests per second of the whole path, relative to a function without sidecar; and what a token costs."""
    rates: dict[str, list[float]] = {"baseline": [], "unsigned": [], "signed": []}
    token_costs = []
    with (
        _sidecar(work, "signed") as signed,
        _sidecar(work, "unsigned", "unsigned") as unsigned,
    ):
        apps = {
            "baseline": ("tests.bench.baseline:app", unsigned),
            "unsigned": ("functions.analysis:app", unsigned),
            "signed": ("functions.analysis:app", signed),
        }
        for _ in range(ROUNDS):
            cpu = {}
            for name, (app, sidecar) in apps.items():
                rate, cpu[name] = _http_rate(work, app, sidecar)
                rates[name].append(rate)
            token_costs.append((cpu["signed"] - cpu["unsigned"]) / signature_seconds())
    yield _ratio("HTTP, without tokens", rates["unsigned"], rates["baseline"], 0.5)
    note = f"{statistics.median(rates['signed']):.0f} requests/s with a token signed for each job"
    yield Figure("a token, in RSA-2048 signatures", statistics.median(token_costs), "x", 1.2, note=note)


def _http_rate(work: Path, app: str, sidecar: _Running) -> tuple[float, float]:
    """Requests per second, and CPU seconds of functions and sidecar for a request."""
    port = stack.free_port()
    with stack.gunicorn(app, port, work / "log", sidecar.socket) as pid:
        url = f"http://127.0.0.1:{port}/tasks/analysis"
        load.requests_per_second(url, 1, work)
        pids = [*stack.tree(pid), *stack.tree(sidecar.pid)]
        before = stack.cpu_seconds(pids)
        rate = load.requests_per_second(url, SECONDS, work)
        return rate, (stack.cpu_seconds(pids) - before) / (rate * SECONDS)


def _ratio(name: str, measured: list[float], reference: list[float], bound: float) -> Figure:
    """The median of the rounds' ratios. Both values of a round were measured under the same load by other processes."""
    rounds = list(zip(measured, reference, strict=True))
    note = ", ".join(f"{value:.0f}:{other:.0f}" for value, other in rounds)
    return Figure(name, statistics.median(value / other for value, other in rounds), "", bound, True, note)


def metrics(work: Path) -> Iterator[Figure]:
    """What metrics cost: CPU time for a request with metrics, relative to without."""
    yield from bench_metrics.metrics(work, _write_config(work, "metrics"), work / "metrics.sock")


def memory(work: Path) -> Iterator[Figure]:
    """Memory of the process tree of `up` when idle, and its growth over many requests."""
    port = stack.free_port()
    local = {"driver": "local", "local": {"directory": str(work / "jobs")}}
    path = _write_config(work, "up", http={"bind": f"127.0.0.1:{port}"}, **local)
    with stack.process((sys.executable, "-m", "runner", "up", "--config", str(path)), work / "log") as pid:
        stack.await_answer(f"http://127.0.0.1:{port}/readyz")
        time.sleep(2)  # until start-up has ended and the processes are idle
        pids = stack.tree(pid)
        yield Figure(
            "`up` with the local driver, idle", stack.memory_mib(pids), "MiB", 250, note=f"{len(pids)} processes"
        )
    yield from _growth(work)


def _growth(work: Path) -> Iterator[Figure]:
    port = stack.free_port()
    path = _write_config(work, "growth", http={"bind": f"127.0.0.1:{port}", "allowUnauthenticated": True})
    url = f"http://127.0.0.1:{port}/tasks/analysis"
    with stack.process((sys.executable, "-m", "runner", "up", "--config", str(path)), work / "log") as pid:
        stack.await_answer(f"http://127.0.0.1:{port}/readyz")
        rate = load.requests_per_second(url, 5, work, runs=100)
        before = stack.memory_mib(stack.tree(pid))
        seconds = int(GROWTH_REQUESTS / rate) + 1
        load.requests_per_second(url, seconds, work, runs=100)
        grown = stack.memory_mib(stack.tree(pid)) - before
    yield Figure(f"growth over {GROWTH_REQUESTS} requests", grown, "MiB", 4, note=f"from {before:.0f} MiB")


def cold_start(_work: Path) -> Iterator[Figure]:
    """CPU time of importing one function, relative to its libraries alone."""
    rounds = [(_import_seconds("functions.analysis"), _import_seconds("falcon, msgspec, gevent")) for _ in range(7)]
    note = ", ".join(f"{ours:.2f}:{theirs:.2f}" for ours, theirs in rounds)
    yield Figure("import functions.analysis, CPU", statistics.median(a / b for a, b in rounds), "x", 2, note=note)


def _import_seconds(names: str) -> float:
    code = f"import time; began = time.process_time(); import {names}; print(time.process_time() - began)"
    return float(subprocess.check_output((sys.executable, "-c", code), cwd=stack.ROOT))


def grpc(work: Path) -> Iterator[Figure]:
    """gRPC calls per second, relative to HTTP requests with the same payloads, sidecar and number of processes."""
    rates: dict[tuple[str, str], list[float]] = {}
    with (
        _sidecar(work, "signed") as signed,
        _sidecar(work, "unsigned", "unsigned") as unsigned,
    ):
        sockets = {"with a token signed for each job": signed.socket, "without tokens": unsigned.socket}
        for _ in range(ROUNDS):
            for name, path in sockets.items():
                port = stack.free_port()
                with stack.gunicorn("functions.analysis:app", port, work / "log", path):
                    url = f"http://127.0.0.1:{port}/tasks/analysis"
                    load.requests_per_second(url, 1, work)
                    rates.setdefault((name, "http"), []).append(load.requests_per_second(url, SECONDS, work))
                with stack.grpc_server(work / "log", path) as port:
                    grpc_load.calls_per_second(port, 1)
                    rates.setdefault((name, "grpc"), []).append(grpc_load.calls_per_second(port, SECONDS))
    for name in sockets:
        yield _ratio(f"gRPC, {name}, relative to HTTP", rates[name, "grpc"], rates[name, "http"], 0.8)


def amqp(work: Path) -> Iterator[Figure]:
    """RabbitMQ messages per second from the queue to acceptance, relative to HTTP requests with the same payloads."""
    rates: dict[str, list[float]] = {"http": [], "classic": [], "quorum": []}
    with _sidecar(work, "amqp") as sidecar, rabbitmq.broker(work) as broker:
        for _ in range(ROUNDS):
            port = stack.free_port()
            with stack.gunicorn("functions.analysis:app", port, work / "log", sidecar.socket):
                url = f"http://127.0.0.1:{port}/tasks/analysis"
                load.requests_per_second(url, 1, work)
                rates["http"].append(load.requests_per_second(url, SECONDS, work))
            for kind in ("classic", "quorum"):
                rates[kind].append(rabbitmq.messages_per_second(broker, sidecar.socket, work, kind))
    for kind in ("classic", "quorum"):
        yield _ratio(f"RabbitMQ, {kind} queue, relative to HTTP", rates[kind], rates["http"], 0.8)


def printer(work: Path) -> Iterator[Figure]:
    """The printer driver's requests per second, relative to the memory driver's, in one process."""
    yield from dry_run.dry_run(_write_config(work, "printer"))


def listing(work: Path) -> Iterator[Figure]:
    """Seconds of `jobs list --all` of 10,000 jobs of this host."""
    directory = work / "listed"
    yield from jobs_list.jobs_list(
        _write_config(work, "listed", driver="local", local={"directory": str(directory)}), directory
    )


MEASURES: dict[str, Callable[[Path], Iterator[Figure]]] = {
    "http": http,
    "memory": memory,
    "metrics": metrics,
    "grpc": grpc,
    "amqp": amqp,
    "printer": printer,
    "jobs-list": listing,
    "cold-start": cold_start,
    "nomad": clusters.nomad,
    "nomad-checks": clusters.nomad_checks,
    "tracker": tracker,
    "kubernetes-checks": clusters.kubernetes_checks,
    "kubernetes": clusters.kubernetes,  # last, because Kubernetes takes minutes to remove the jobs
}


class _Running(NamedTuple):
    """A sidecar that runs: its socket and its pid."""

    socket: Path
    pid: int


@contextmanager
def _sidecar(work: Path, name: str, *mode: str) -> Iterator[_Running]:
    """Start a sidecar with the memory driver and wait until it is ready."""
    socket_path = work / f"{name}.sock"
    command = (sys.executable, "-m", "tests.bench.sidecar", str(_write_config(work, name)), *mode)
    with stack.process(command, work / "log", {"ORCHESTRATOR_LOG_LEVEL": "WARNING"}) as pid:
        until = time.monotonic() + 20
        while not socket_path.exists():
            if time.monotonic() > until:
                raise TimeoutError(f"no sidecar at {socket_path}; see {work / 'log'}")
            time.sleep(0.05)
        yield _Running(socket_path, pid)


def _write_config(work: Path, name: str, **sections: object) -> Path:
    document = {
        "runner": {"id": "bench", "privateKey": make_key_pair().private},
        "deepsource": {"host": "http://127.0.0.1:9", "publicKey": make_key_pair().public},
        "http": {"allowUnauthenticated": True},
        "driver": "memory",
        **sections,
    }
    workers = 1 if document["driver"] == "memory" else 2
    document["sidecar"] = {"socket": str(work / f"{name}.sock"), "workers": workers}
    path = work / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def main() -> int:
    names = _parser().parse_args().names
    load.require_wrk()
    all_met = True
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as directory:
        for name in names or MEASURES:
            print(f"{name}: {MEASURES[name].__doc__}", flush=True)
            for figure in MEASURES[name](Path(directory)):
                print(f"  {figure}", flush=True)
                all_met = all_met and figure.met
    return 0 if all_met else 1


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:<17} {measure.__doc__}" for name, measure in MEASURES.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure, print each figure with its bound, exit with 1 if one is missed. Needs an idle machine.",
        epilog=f"measures:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", type=_known, help="a measure; without any, all run")
    return parser


def _known(name: str) -> str:
    if name not in MEASURES:
        raise argparse.ArgumentTypeError(f"there is no measure {name!r}; use one of {', '.join(MEASURES)}")
    return name


if __name__ == "__main__":
    sys.exit(main())
