"""A slice of `make fuzz` with a fixed seed, and the mutations themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.security.fuzz import run
from tests.security.harness import mutations
from tests.security.harness.entries import base
from tests.security.harness.servers import started

SEED, ROUNDS = 13, 2


def test_mutated_requests_break_no_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with started(tmp_path) as servers:
        fuzzer = run(servers, SEED, seconds=0, rounds=ROUNDS)
        protocols = {"http", "grpc", "amqp"} if servers.stand else {"http", "grpc"}
    assert set(fuzzer.sent) == protocols
    assert {"accepted", "invalid", "malformed"} <= fuzzer.codes.keys()


@pytest.mark.parametrize(
    "make", [mutations.text, lambda random, value: mutations.octets(random, json.dumps(value).encode())]
)
def test_a_seed_makes_the_same_inputs_again(make: Callable[[Random, dict[str, Any]], bytes]) -> None:
    def inputs(seed: int) -> list[bytes]:
        random = Random(seed)
        return [make(random, base("analysis_run/everything")) for _ in range(50)]

    assert inputs(1) == inputs(1) != inputs(2)
    assert len(set(inputs(1))) > 40


def test_a_mutation_leaves_the_sample_as_it_was() -> None:
    sample = base("autofix_run")
    for seed in range(50):
        mutations.document(Random(seed), sample)
    assert sample == base("autofix_run")
