"""Which runs there are: every pair of values of two different dimensions is in one of them (pairwise testing)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from typing import NamedTuple

from runner.request_types import REQUEST_TYPES

DRIVERS = ("local", "printer", "kubernetes", "nomad")
PROTOCOLS = ("http", "grpc", "amqp")
ENDS = ("success", "failure", "cancel", "timeout")


class Combination(NamedTuple):
    """One run."""

    request_type: str
    protocol: str
    driver: str
    end: str


def possible(each: Combination) -> bool:
    """Whether such a run can be had within a minute.

    A cancel_check_run is itself a cancel. A job's time is 25 minutes: on Kubernetes a test can shorten it, on this host
    only that of a clone, on Nomad none.
    """
    if each.request_type == "cancel_check_run" and each.end != "cancel":
        return False
    clones = each.request_type not in ("patcher_run", "ssh_verify_run")
    return each.end != "timeout" or each.driver == "kubernetes" or (each.driver == "local" and clones)


def everything() -> list[Combination]:
    """Every run that is possible, where the driver has ends; one each with the printer, which starts nothing."""
    found = [Combination(*each) for each in product(REQUEST_TYPES, PROTOCOLS, DRIVERS, ENDS)]
    return [
        each for each in found if possible(each) and (each.driver != "printer" or each.end in ("success", "cancel"))
    ]


def pairwise() -> list[Combination]:
    """Few runs that have every pair that `everything` has. Always the same ones."""
    left = {pair for each in everything() for pair in _pairs(each)}
    chosen: list[Combination] = []
    while left:
        best = max(everything(), key=lambda each: sum(pair in left for pair in _pairs(each)))
        left -= set(_pairs(best))
        chosen.append(best)
    return chosen


def _pairs(each: Sequence[str]) -> Iterator[tuple[tuple[int, str], ...]]:
    yield from combinations(enumerate(each), 2)
