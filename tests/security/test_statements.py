"""docs/security.md: each statement names its tests, and they exist. The audit says what it did not audit."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.conftest import ROOT
from tests.security.audit import CLEAN, UNKNOWN, VULNERABLE, verdict

TEXT = (ROOT / "docs" / "security.md").read_text()
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| statement")]


@cache
def functions(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("row", ROWS)
def test_a_statement_names_a_test(row: str) -> None:
    _, statement, tests, _ = row.split("|")
    assert statement.strip().endswith(".")
    assert NAMED.findall(tests)


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED.findall(TEXT))))
def test_a_named_test_exists(path: str, name: str) -> None:
    assert name.startswith("test_")
    assert name in functions(path)


def test_there_are_statements_about_everybody() -> None:
    assert len(ROWS) >= 20
    assert re.findall(r"^## (.*)$", TEXT, re.MULTILINE)[:4] == ["A caller", "A job", "A node", "A broker"]


def test_the_policy_names_the_document() -> None:
    policy = (ROOT / "SECURITY.md").read_text()
    assert "docs/security.md" in policy
    assert "example.com" not in policy


def test_the_audit_is_clean_only_if_every_package_was_audited() -> None:
    good = {"name": "a", "version": "1", "vulns": []}
    assert verdict([good])[0] == CLEAN
    assert verdict([]) == (UNKNOWN, "0 of 0 packages could not be audited")
    assert verdict([good, {"name": "b", "skip_reason": "not found"}])[0] == UNKNOWN
    bad = {**good, "vulns": [{"id": "PYSEC-1", "fix_versions": []}]}
    assert verdict([bad, {"name": "b", "skip_reason": "x"}]) == (VULNERABLE, "a 1: PYSEC-1, fixed in no version")
