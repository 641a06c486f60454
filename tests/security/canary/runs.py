"""Carries out the runs, brings about their ends, and searches every place. The result is a table."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner

from runner.cli import main as command_line
from tests.cluster import Cluster
from tests.harness.processes import eventually
from tests.recorder.rest import MERGE_PATCH
from tests.security.canary.fields import Markers, document
from tests.security.canary.pairs import Combination
from tests.security.canary.search import Finder, ProcessWatch
from tests.security.canary.stand import CanaryStand, new_id

_LOCK = threading.Lock()
"""CliRunner replaces the streams of the whole process."""

RUNNING_SECONDS = 5.0
"""For jobs to print something before they are ended."""
END_SECONDS = 240.0
"""Within which the jobs of `AT_ONCE` runs end, on two cores."""
AT_ONCE = 30

UNAVOIDABLE = ("ORCHESTRATOR_AMQP_URL",)
"""The broker's URL is in the environment of `up` and of the consumer, and of no other process."""


class CanaryRun(msgspec.Struct):
    """One run: its combination, its ids, its jobs."""

    combination: Combination
    request_id: str
    sent: dict[str, Any]
    jobs: list[str] = []
    cancel_id: str = ""


class Findings(msgspec.Struct):
    """What was searched, and what was found."""

    runs: list[Combination]
    ended: int
    read: dict[str, int]
    found: dict[str, list[str]]
    own: set[str]
    """The fields whose markers the jobs' own processes had."""
    lines: int
    """Of the log, each an object."""
    without_id: list[str]
    """The jobs whose end was logged without the id of the request that made or cancelled it."""

    def table(self) -> str:
        rows = [f"{len(self.runs)} runs, {self.ended} with an end in the log, {self.lines} lines of log"]
        rows += [f"  {each.request_type:<17} {each.protocol:<5} {each.driver:<11} {each.end}" for each in self.runs]
        rows += ["", f"{'place':<44} {'characters':>11}  markers found"]
        rows += [f"{kind:<44} {size:>11,}  {len(self.found[kind])}" for kind, size in self.read.items()]
        rows += [f"  FOUND {each}" for found in self.found.values() for each in found]
        return "\n".join(rows)


def findings(servers: Cluster, work: Path, combinations: Sequence[Combination]) -> Findings:
    """Carry out these runs, so many at once as two cores end in time, and search."""
    markers = Markers()
    runs: list[CanaryRun] = []
    with ExitStack() as stack:
        stand = CanaryStand(servers, work, markers, stack)
        watch = ProcessWatch()
        stack.callback(watch.close)
        finder = Finder(markers.places)
        for first in range(0, len(combinations), AT_ONCE):
            runs += _carried_out(stand, combinations[first : first + AT_ONCE], first)
            _search_clusters(stand, finder)  # which forget a job some minutes after its end
            _search_command_line(stand, finder, runs[first:])
            print(f"{len(runs)} of {len(combinations)} runs", file=sys.stderr, flush=True)
        watch.close()
        _search(stand, finder, watch)
        own = {field for each in watch.own for field in finder.contained(each.decode(errors="replace"))}
        lines = len(stand.log())
        without_id = _without_request_id(stand, runs)
    found = {kind: sorted(each) for kind, each in finder.found.items()}
    return Findings(list(combinations), len(_ending(runs)), dict(finder.read), found, own, lines, without_id)


def _carried_out(stand: CanaryStand, combinations: Sequence[Combination], first: int) -> list[CanaryRun]:
    """Begin these runs, end them, and wait until all have ended."""
    with ThreadPoolExecutor(4) as threads:
        runs = list(threads.map(lambda each: _begin(stand, each), combinations))
        if not first:
            _refused(stand)
        time.sleep(RUNNING_SECONDS)
        list(threads.map(lambda each: _end(stand, each), runs))
    eventually(lambda: _ending(runs) <= stand.ended(), f"all have ended; see {stand.up.log}", END_SECONDS)
    return runs


def _ending(runs: Sequence[CanaryRun]) -> set[str]:
    """The jobs that have an end: the printer's have none."""
    return {job for run in runs if run.combination.driver != "printer" for job in run.jobs}


def _without_request_id(stand: CanaryStand, runs: Sequence[CanaryRun]) -> list[str]:
    known = {job: {run.request_id, run.cancel_id} for run in runs for job in run.jobs}
    ended = [line for line in stand.log() if line["message"] == "ended"]
    return [line["job"] for line in ended if line["request_id"] not in known.get(line["job"], ())]


def _begin(stand: CanaryStand, each: Combination) -> CanaryRun:
    request_type = "analysis_run" if each.request_type == "cancel_check_run" else each.request_type
    word = each.end if each.end in ("success", "failure") else "hold" if each.end == "cancel" else "timeout"
    request_id = new_id(each.end)
    sent = document(stand.markers, request_type, new_id("r"), word, each.driver)
    run = CanaryRun(each, request_id, sent)
    stand.send(each.protocol, request_type, sent, request_id)
    run.jobs = stand.jobs_of(request_id)
    stand.send(each.protocol, request_type, sent, new_id("repeat"))
    return run


def _end(stand: CanaryStand, run: CanaryRun) -> None:
    each = run.combination
    if each.end == "cancel" and each.request_type in ("analysis_run", "cancel_check_run"):
        meta = {"run_id": run.sent["run_id"], "run_serial": run.sent["run_serial"]}
        seq = run.sent["checks"][0]["check_seq"]
        body = {"run_id": new_id("c"), "run_serial": "1", "analysis_meta": {**meta, "check_seq": seq}}
        run.cancel_id = new_id("cancel")
        stand.send(each.protocol, "cancel_check_run", body, run.cancel_id)
    elif each.driver == "printer":
        return
    elif each.end == "cancel":
        for job in run.jobs:
            _command(stand, "jobs", "cancel", job)
    elif each.end == "timeout" and each.driver == "kubernetes":
        for job in run.jobs:
            path = stand.kubernetes.path("jobs", job)
            stand.kubernetes.api.call("PATCH", path, {"spec": {"activeDeadlineSeconds": 1}}, MERGE_PATCH)


def _refused(stand: CanaryStand) -> None:
    """Requests that are refused for one field, with secrets in all others, and in the field itself."""
    for protocol in ("http", "grpc", "amqp"):
        for kind in ("analysis_run", "patcher_run", "ssh_verify_run"):
            good = document(stand.markers, kind, "r", "refused", "local")
            bad_key = {**good, "keys": {"ssh": {"private": stand.markers.key(f"{kind}, refused") + "\0"}}}
            url = f"https://u:{stand.markers.make(f'{kind}, refused URL')}@h h/x"
            part = "ssh_meta" if kind == "ssh_verify_run" else "vcs_meta"
            for wrong in ({**good, "run_id": ""}, bad_key, {**good, part: {"remote_url": url}}):
                stand.send(protocol, kind, wrong, new_id("refused"))
    token = f"{stand.markers.make('a token that is refused')}.x.y"
    for protocol in ("http", "grpc"):
        stand.send(protocol, "analysis_run", document(stand.markers, "analysis_run", "r", "x", "local"), "t", token)


def _search(stand: CanaryStand, finder: Finder, watch: ProcessWatch) -> None:
    finder.search("logs and the printer's output", stand.up.said())
    for answer in stand.answers:
        finder.search("answers and errors, HTTP and gRPC", answer)
    for path in ("/metrics", "/readyz"):
        finder.search("metrics and readiness", stand.metrics(path))
    for headers in stand.dead_letters():
        finder.search("dead letters' headers", headers)
    for body in stand.atlas.bodies:
        finder.search("results", body)
    for arguments, what in watch.arguments.items():
        finder.search("arguments of other processes", arguments.decode(errors="replace"), what)
    for environment, what in watch.environments.items():
        text = environment.decode(errors="replace")
        fields = finder.contained(text)
        if fields <= set(UNAVOIDABLE) and ("runner up" in what or "functions.amqp" in what):
            continue
        finder.search("environments of other processes", text, what)


def _search_clusters(stand: CanaryStand, finder: Finder) -> None:
    place = stand.kubernetes
    for kind in ("jobs", "pods", "events", "configmaps", "serviceaccounts"):
        finder.search(f"Kubernetes, {kind} as stored", json.dumps(place.api.call("GET", place.path(kind))))
    api, namespace = stand.nomad.api, stand.nomad.name
    for job in api.call("GET", "/v1/jobs", namespace=namespace):
        whole = api.call("GET", f"/v1/job/{job['ID']}", namespace=namespace)
        finder.search("Nomad, jobs as stored", json.dumps([job, whole]))
    for each in api.call("GET", "/v1/allocations", namespace=namespace):
        whole = api.call("GET", f"/v1/allocation/{each['ID']}", namespace=namespace)
        finder.search("Nomad, allocations and their events", json.dumps(whole))
    finder.search("Nomad, Variables as listed", json.dumps(api.call("GET", "/v1/vars", namespace=namespace)))


def _search_command_line(stand: CanaryStand, finder: Finder, runs: Sequence[CanaryRun]) -> None:
    finder.search("command line: jobs list", _command(stand, "jobs", "list", "--all"))
    for run in runs:
        path = stand.work / "request.json"
        path.write_text(json.dumps(run.sent))
        kind = run.combination.request_type
        if kind != "cancel_check_run":
            finder.search("command line: render", _command(stand, "render", kind, str(path)))
        if run.combination.driver == "printer":
            continue
        for job in run.jobs:
            finder.search("command line: jobs show", _command(stand, "jobs", "show", job))
            for more in ((), ("--container", "coat"), ("--lines", "3")):
                output = _command(stand, "jobs", "logs", job, *more)
                finder.search(f"command line: jobs logs, {run.combination.driver}", output)


def _command(stand: CanaryStand, *arguments: str) -> str:
    config = () if arguments[:1] == ("--config",) else ("--config", str(stand.config))
    with _LOCK:
        result = CliRunner().invoke(command_line, [*arguments, *config])
    return str(result.output) + (repr(result.exception) if result.exception else "")
