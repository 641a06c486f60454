"""Faults of Nomad: every submit returns by its deadline; after repeats each job exists exactly once."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from runner.drivers.nomad.driver import NomadDriver
from runner.errors import Busy, Timeout, Unavailable
from runner.jobs import JobSpec
from tests.conformance.jobs import POOL, cancellation, job, new_name
from tests.harness.deadlines import within
from tests.harness.faulty_proxy import FAULTS, faulty_proxy
from tests.harness.rounds import observed
from tests.nomad.access import Nomad

SUBMITS = 200
SHARE = 0.2
DEADLINE = 3.0
NO_LEADER = "No cluster leader"
RPC_ERROR = "rpc error: failed to get conn: rpc error: lead thread didn't get connection"

# No node is in this datacenter: the test needs 200 registered jobs, not 200 programs.
NOWHERE = {POOL: {"datacenters": ["nowhere"]}}


@pytest.mark.parametrize(
    ("fault", "failure"),
    [*((fault, NO_LEADER) for fault in FAULTS), ("fail-before", RPC_ERROR), ("fail-after", RPC_ERROR)],
)
def test_200_submits_make_exactly_200_jobs(
    nomad: Nomad, make_driver: Callable[..., NomadDriver], fault: str, failure: str
) -> None:
    jobs = [job("shell") for _ in range(SUBMITS)]
    with faulty_proxy(nomad.access.url, nomad.access.ca, fault, SHARE, failure=failure) as proxy:
        driver = make_driver(address=proxy.url, pools=NOWHERE)
        with ThreadPoolExecutor(16) as callers:
            durations = list(callers.map(lambda each: _until_accepted(driver, each), jobs))

    assert proxy.injected[fault] > SUBMITS * SHARE / 2, "the proxy injected too few faults for a result"
    assert max(durations) < DEADLINE + 2, f"a submit took {max(durations):.1f} s"
    names = sorted(each.name for each in jobs)
    assert sorted(each["ID"] for each in nomad.get("jobs")) == names
    assert sorted(each["Path"].removeprefix("nomad/jobs/") for each in nomad.get("vars")) == names


@pytest.mark.parametrize("fault", ["reset-after", "fail-after", "reset-before"])
def test_cancels_are_permanent_as_well(nomad: Nomad, make_driver: Callable[..., NomadDriver], fault: str) -> None:
    jobs = [job("shell") for _ in range(30)]
    early = [new_name() for _ in range(30)]
    with faulty_proxy(nomad.access.url, nomad.access.ca, fault, SHARE, failure=NO_LEADER) as proxy:
        driver = make_driver(address=proxy.url, pools=NOWHERE)
        for each in jobs:
            _until_accepted(driver, each)
        names = [*(each.name for each in jobs), *early]
        with ThreadPoolExecutor(8) as callers:
            states = list(callers.map(lambda name: _until_cancelled(driver, name), names))

    assert set(states) == {"cancelled"}
    assert all(each["Stop"] for each in nomad.get("jobs"))
    assert {each.name for each in observed(make_driver()) if each.cancelled} == set(names)


def _until_accepted(driver: NomadDriver, wanted: JobSpec) -> float:
    """Repeat the submit, as atlas does. Returns the duration of the longest call, in seconds."""
    longest = 0.0
    for _ in range(40):
        began = time.monotonic()
        try:
            driver.submit(wanted, within(DEADLINE))
        except (Unavailable, Timeout, Busy):
            longest = max(longest, time.monotonic() - began)
        else:
            return max(longest, time.monotonic() - began)
    raise AssertionError(f"{wanted.name} was never accepted")


def _until_cancelled(driver: NomadDriver, name: str) -> str | None:
    for _ in range(40):
        try:
            return driver.cancel(cancellation(name), within(DEADLINE), tombstone=True)
        except (Unavailable, Timeout, Busy):
            continue
    raise AssertionError(f"{name} was never cancelled")


def test_throttling_is_busy_with_the_retry_after_of_nomad(
    nomad: Nomad, make_driver: Callable[..., NomadDriver]
) -> None:
    with faulty_proxy(nomad.access.url, nomad.access.ca, "throttle", 1.0, failure=NO_LEADER) as proxy:
        driver = make_driver(address=proxy.url)
        with pytest.raises(Busy) as caught:
            driver.submit(job("shell"), within(5))

    assert caught.value.retry_after == 1


@pytest.mark.parametrize("failure", [NO_LEADER, RPC_ERROR])
def test_a_nomad_that_only_fails_is_unavailable_within_the_deadline(
    nomad: Nomad, make_driver: Callable[..., NomadDriver], failure: str
) -> None:
    with faulty_proxy(nomad.access.url, nomad.access.ca, "fail-before", 1.0, failure=failure, reads_too=True) as proxy:
        began = time.monotonic()
        with pytest.raises(Unavailable, match=failure[:15]):
            make_driver(address=proxy.url).submit(job("shell"), within(2))
        assert time.monotonic() - began < 4


@pytest.mark.parametrize("fault", ["hang-before", "drip"])
def test_a_nomad_that_does_not_respond_is_an_error_at_the_deadline(
    nomad: Nomad, make_driver: Callable[..., NomadDriver], fault: str
) -> None:
    with faulty_proxy(nomad.access.url, nomad.access.ca, fault, 1.0, failure=NO_LEADER, reads_too=True) as proxy:
        began = time.monotonic()
        with pytest.raises((Unavailable, Timeout)):
            make_driver(address=proxy.url).submit(job("shell"), within(1))
        assert time.monotonic() - began < 2


def test_a_refused_connection_is_unavailable_at_once(make_driver: Callable[..., NomadDriver]) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        make_driver(address="http://127.0.0.1:1").submit(job("shell"), within(5))


def test_an_untrusted_certificate_is_unavailable(make_driver: Callable[..., NomadDriver]) -> None:
    """TLS is verified: the configuration names no CA, and the system's CAs did not issue the server's certificate."""
    with pytest.raises(Unavailable, match="TLS"):
        make_driver(caFile="").check()


def test_the_environment_does_not_change_where_the_token_is_sent(
    nomad: Nomad, make_driver: Callable[..., NomadDriver], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "NOMAD_ADDR"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("NOMAD_TOKEN", "somebody-else-s")
    monkeypatch.setenv("NOMAD_NAMESPACE", "elsewhere")
    make_driver().check()
