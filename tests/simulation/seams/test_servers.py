"""The simulated servers do what was tried on real ones (Kubernetes 1.34, Nomad 1.11)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from runner.drivers.http.client import HttpResponse
from tests.simulation.history import History
from tests.simulation.kubernetes.api_server import JSON_PATCH, MERGE_PATCH, ApiServer
from tests.simulation.kubernetes.store import selector
from tests.simulation.nomad.cluster import URL, NomadCluster
from tests.simulation.scenario import Scenario
from tests.simulation.scheduler import Scheduler
from tests.simulation.seams.network import Later, Line, Network, Request, Weather

JOBS = "/apis/batch/v1/namespaces/ns/jobs"


@pytest.fixture
def network() -> Network:
    return Network(Scheduler(1), Weather())


@pytest.fixture
def server(network: Network) -> ApiServer:
    return ApiServer(network, ("ns",))


def asked(server: Any, method: str, path: str, body: Any = None, media: str = "application/json") -> Any:
    """The status and the decoded body."""
    encoded = None if body is None else msgspec.json.encode(body)
    response = server.handle(Request(method, path, encoded, [f"Content-Type: {media}"], "test"))
    response = response.finish() if isinstance(response, Later) else response
    assert isinstance(response, HttpResponse)
    return response.status, msgspec.json.decode(response.body) if response.body[:1] in b"{[" else response.body.decode()


def create(server: ApiServer, name: str, **labels: str) -> dict[str, Any]:
    status, job = asked(server, "POST", JOBS, {"metadata": {"name": name, "labels": labels}, "spec": {}})
    assert status == 201
    return job  # type: ignore[no-any-return]


def test_a_name_is_taken_once(server: ApiServer) -> None:
    create(server, "a")
    status, answer = asked(server, "POST", JOBS, {"metadata": {"name": "a"}})
    assert (status, answer["reason"]) == (409, "AlreadyExists")


def test_a_patch_for_another_uid_or_version_is_refused(server: ApiServer) -> None:
    job = create(server, "a")
    for precondition, status in (({"uid": "other"}, 422), ({"resourceVersion": "1"}, 409)):
        assert asked(server, "PATCH", f"{JOBS}/a", {"metadata": precondition}, MERGE_PATCH)[0] == status
    right = {"uid": job["metadata"]["uid"], "resourceVersion": job["metadata"]["resourceVersion"]}
    assert asked(server, "PATCH", f"{JOBS}/a", {"metadata": right}, MERGE_PATCH)[0] == 200


def test_a_json_patch_tests_that_an_annotation_is_absent(server: ApiServer) -> None:
    create(server, "a")
    path = "/metadata/annotations/x~1y"
    patch = [{"op": "test", "path": path, "value": None}, {"op": "add", "path": path, "value": "z"}]
    assert [asked(server, "PATCH", f"{JOBS}/a", patch, JSON_PATCH)[0] for _ in range(2)] == [200, 422]


def test_a_label_takes_a_job_out_of_a_watch_with_its_old_object(server: ApiServer, network: Network) -> None:
    job = create(server, "a", manager="runner")
    line = Line(network)
    query = f"watch=1&labelSelector=manager%3Drunner%2C%21done&resourceVersion={job['metadata']['resourceVersion']}"
    assert server.open(Request("GET", f"{JOBS}?{query}&timeoutSeconds=25", None, [], "test"), line) is None
    _, marked = asked(server, "PATCH", f"{JOBS}/a", {"metadata": {"labels": {"done": "yes"}}}, MERGE_PATCH)
    network.scheduler.run_for(1)
    event = msgspec.json.decode(line.next(0) or b"")
    assert event["type"] == "DELETED"
    assert "done" not in event["object"]["metadata"]["labels"]
    assert event["object"]["metadata"]["resourceVersion"] == marked["metadata"]["resourceVersion"]


def test_a_watch_from_a_compacted_version_is_gone(server: ApiServer, network: Network) -> None:
    create(server, "a")
    server.store.compacted = server.store.version + 1
    line = Line(network)
    assert server.open(Request("GET", f"{JOBS}?watch=1&resourceVersion=5", None, [], "test"), line) is None
    network.scheduler.run_for(1)
    event = msgspec.json.decode(line.next(0) or b"")
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
    assert line.ended


def test_pages_are_of_one_version(server: ApiServer) -> None:
    for name in ("a", "b", "c"):
        create(server, name)
    _, first = asked(server, "GET", f"{JOBS}?limit=2")
    create(server, "d")
    _, second = asked(server, "GET", f"{JOBS}?limit=2&continue={first['metadata']['continue']}")
    assert [item["metadata"]["name"] for item in first["items"] + second["items"]] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "matches"),
    [("a=1", True), ("a=2", False), ("a!=2", True), ("b", False), ("!b", True), ("a in (1,2)", True),
     ("a notin (1)", False), ("a=1,!b", True), ("a=1,b in (x)", False), ("a", True)],
)  # fmt: skip
def test_selectors(text: str, matches: bool) -> None:
    assert selector(text)({"metadata": {"labels": {"a": "1"}}}) is matches


def test_two_nomad_registers_at_once_may_both_succeed(network: Network) -> None:
    NomadCluster(network, History(lambda: 0.0), ("ns",), Scenario((), Weather()))
    agent = network.servers[URL]
    body = msgspec.json.encode({"Job": {"ID": "a", "TaskGroups": []}, "EnforceIndex": True, "JobModifyIndex": 0})
    both = [agent.handle(Request("POST", "/v1/jobs?namespace=ns", body, [], "test")) for _ in range(2)]
    assert [each.finish().status for each in both if isinstance(each, Later)] == [200, 200]
    assert asked(agent, "POST", "/v1/jobs?namespace=ns", msgspec.json.decode(body))[0] == 500


def test_a_variable_is_checked_and_set_at_once(network: Network) -> None:
    NomadCluster(network, History(lambda: 0.0), ("ns",), Scenario((), Weather()))
    agent, path = network.servers[URL], "/v1/var/nomad%2Fjobs%2Fa?namespace=ns&cas=0"
    assert [asked(agent, "POST", path, {"Items": {"x": "y"}})[0] for _ in range(2)] == [200, 409]
