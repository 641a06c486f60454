"""The end of pytest's summary: what was left out, why, and how to have it."""

from __future__ import annotations

import pytest

from tests.conftest import ROOT
from tests.harness.left_out import LONG, leaves_out_long, summary


def test_a_line_has_the_number_the_folders_the_reason_and_the_remedy() -> None:
    skipped = [
        ("tests/protocols/test_grpc_clients.py::test_a", "Skipped: no go here to build grpcurl with"),
        ("tests/nomad/test_b.py::test_b[x::y]", "Skipped: the test cluster needs root"),
        ("tests/kubernetes/test_c.py::test_c", "Skipped: the test cluster needs root"),
    ]
    assert summary(skipped) == [
        "2 tests in tests/kubernetes, tests/nomad: the test cluster needs root. "
        "To run them: as root, on Debian or alike, with Go: make test ARGS='-m real_servers'",
        "1 test in tests/protocols: no go here to build grpcurl with. To run it: install Go",
    ]


def test_a_reason_without_a_known_remedy_stands_alone() -> None:
    assert summary([("tests/unit/test_a.py::test_a", "Skipped: the moon is full")]) == [
        "1 test in tests/unit: the moon is full"
    ]


MISSING = "the test cluster needs root"


@pytest.mark.parametrize(
    ("bare", "wanted", "ci", "missing", "left_out"),
    [
        (True, False, False, MISSING, True),
        (True, False, False, None, False),
        (True, True, False, MISSING, False),
        (True, False, True, MISSING, False),
        (False, False, False, MISSING, False),
    ],
    ids=["newcomer", "a machine with servers", "--long", "CI", "named by path"],
)
def test_long_tests_are_left_out_of_a_bare_run_where_the_real_servers_cannot_run(
    bare: bool, wanted: bool, ci: bool, missing: str | None, left_out: bool
) -> None:
    assert leaves_out_long(bare=bare, wanted=wanted, ci=ci, missing=missing) is left_out


def test_long_tests_exist() -> None:
    for place in LONG:
        assert (ROOT / place).exists(), place
