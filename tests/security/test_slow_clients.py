"""500 clients of each slow kind: good requests and health checks are served meanwhile, and each slow one is ended."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from tests.security import slow_clients

ENDED = {
    "silent": {"closed"},
    "slow head": {"408"},
    "slow body": {"401"},
    "slow body, token": {"504"},
    "half-closed head": {"closed"},
    "half-closed body": {"400"},
    "non-reading": {"closed"},
}
GRPC_ENDED = {
    "silent": {"closed"},
    "slow head": {"closed"},
    "slow body": {"gRPC 16"},
    "slow body, token": {"gRPC 4", "closed"},
    "half-closed head": {"closed"},
    "half-closed body": {"closed"},
    "non-reading": {"closed"},
}


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[int, int, str]]:
    slow_clients.raise_limit()
    with slow_clients.servers() as started:
        yield started


@pytest.mark.parametrize("name", ENDED)
def test_slow_http_clients_delay_nobody_and_are_ended(served: tuple[int, int, str], name: str) -> None:
    port, _, token = served
    kinds = slow_clients.http_kinds(token, slow_clients.serves_document(port))
    (kind,) = (each for each in kinds if each.name == name)
    row = slow_clients.row(kind, port, slow_clients.good_request(port, token), slow_clients.health_checks(port))
    print(row)
    assert max(row.good, row.health, row.ended) < math.inf, row
    assert set(row.answers) <= ENDED[name], row


@pytest.mark.parametrize("name", GRPC_ENDED)
def test_slow_grpc_clients_delay_nobody_and_are_ended(served: tuple[int, int, str], name: str) -> None:
    _, port, token = served
    (kind,) = (each for each in slow_clients.grpc_kinds(token) if each.name == name)
    row = slow_clients.row(kind, port, slow_clients.good_call(port, token), slow_clients.health_call(port))
    print(row)
    assert max(row.good, row.health, row.ended) < math.inf, row
    assert set(row.answers) <= GRPC_ENDED[name], row
