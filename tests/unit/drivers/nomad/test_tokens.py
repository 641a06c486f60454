"""Why Nomad refuses: it does not know the token, or the token lacks a capability. Answers are those of Nomad 1.11."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.config.drivers import NomadSection
from runner.drivers.http.client import HttpResponse
from runner.drivers.nomad.api import NomadClient, NomadResponse, raise_for_status
from runner.errors import Unavailable
from tests.harness.clock import ManualClock
from tests.harness.deadlines import within

DENIED = HttpResponse(status=403, body=b"Permission denied")
UNKNOWN = HttpResponse(status=403, body=b"ACL token not found")
NO_ACL_TOKEN = HttpResponse(status=404, body=b"ACL token not found")
FOUND = HttpResponse(status=200, body=b"[]")


class Answers:
    """A Nomad with these answers by path; every other request is denied."""

    def __init__(self, **by_path: HttpResponse) -> None:
        self._by_path = {path.replace("_", "/"): answer for path, answer in by_path.items()}

    def request(self, _route: Any, _method: str, path: str, _deadline: Any, **_named: Any) -> HttpResponse:
        return self._by_path.get(path.partition("?")[0].removeprefix("/v1/"), DENIED)


def client(tmp_path: Path, **answers: HttpResponse) -> NomadClient:
    (tmp_path / "token").write_text("t-1")
    section = NomadSection(token_file=str(tmp_path / "token"))
    return NomadClient(section, http=Answers(**answers), clock=ManualClock())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answers",
    [{"acl_token_self": FOUND}, {"acl_token_self": NO_ACL_TOKEN, "acl_policies": FOUND}],
    ids=["an ACL token", "a workload identity"],
)
def test_a_known_token_lacks_a_capability(answers: dict[str, HttpResponse], tmp_path: Path) -> None:
    assert client(tmp_path, **answers).call("GET", "jobs", within(5)).message == "Permission denied"


@pytest.mark.parametrize(
    "answers",
    [{"acl_token_self": UNKNOWN}, {"acl_token_self": NO_ACL_TOKEN, "acl_policies": UNKNOWN}],
    ids=["a revoked token", "an expired identity"],
)
def test_an_unknown_token_is_to_be_renewed(answers: dict[str, HttpResponse], tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"renew nomad\.tokenFile"):
        client(tmp_path, **answers).call("GET", "jobs", within(5))


def test_a_token_of_two_lines_is_no_header(tmp_path: Path) -> None:
    agent = client(tmp_path)
    (tmp_path / "token").write_text("t-1\nX-Other: 1\n")
    with pytest.raises(Unavailable, match="is not one line; write it anew") as caught:
        agent.call("GET", "jobs", within(5))
    assert "X-Other" not in caught.value.detail


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        *((status, b"<html>moved</html>", "it redirects") for status in (301, 302, 307, 308)),
        (400, b"Client sent an HTTP request to an HTTPS server.\n", "it wants https"),
        (407, b"login, please", "a proxy on the way wants a login"),
        (500, b"No path to region", r"correct nomad\.region"),
    ],
)
def test_a_wrong_address_or_region_refuses_no_job_for_ever(status: int, body: bytes, said: str) -> None:
    with pytest.raises(Unavailable, match=said):
        raise_for_status(NomadResponse(status, body, 0.0), "submit-job in namespace x")
