"""The mode `--autofix`: fixes the requested issues and stores the patches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .patches import Snapshot
from .rules import RULES
from .task import Task

Document = dict[str, Any]

_FIX = ("check", "--fix", "--unsafe-fixes", "--exit-zero", "--select")
"""With unsafe fixes: a person sees the patch before it is committed."""


def autofix(task: Task) -> Document:
    """Fix what is requested, store the patches, and report what has no fix. Gives the report."""
    rules = _rules_by_path(task)
    before = _issues_of(task, rules)
    snapshot = Snapshot.take(task.code, rules)
    for path in rules:
        task.change([path], *_FIX, ",".join(rules[path]))
    after = {issue["identifier"] for issue in _issues_of(task, rules)}
    fixed = [issue for issue in before if issue["identifier"] not in after]
    _report_unfixed(task, before, fixed)
    patches = snapshot.patches()
    _store(task, patches)
    return {
        "changed_files": [patch["path"] for patch in patches],
        "issues_fixed": [{"issue_code": each["issue_code"], **each["location"]} for each in fixed],
        "patches": patches,
    }


def _occurrences(task: Task) -> Iterator[tuple[str, str, int]]:
    """Code, path and line of everything that is requested."""
    for entry in json.loads(task.toml.get("autofix_issues") or "[]"):
        for occurrence in entry.get("occurrences") or ():
            yield entry["issue_code"], occurrence["path"], occurrence["position"]["begin"]["line"]


def _rules_by_path(task: Task) -> dict[str, list[str]]:
    rules: dict[str, list[str]] = {}
    for code, path, _ in _occurrences(task):
        if code not in RULES:
            task.add_error(f"{code} is not known here, so nothing was fixed for it.")
        elif path not in task.paths:
            task.add_error(f"{path} is not a Python file of this commit, so it was not fixed.")
        elif RULES[code] not in rules.setdefault(path, []):
            rules[path].append(RULES[code])
    return dict(sorted(rules.items()))


def _issues_of(task: Task, rules: Mapping[str, Sequence[str]]) -> list[Document]:
    """One call of ruff for all files, then for each file only the issues that are requested in it."""
    found = task.issues(list(rules), sorted({rule for chosen in rules.values() for rule in chosen}))
    return [issue for issue in found if issue["meta"]["rule"] in rules[issue["location"]["path"]]]


def _report_unfixed(task: Task, before: Sequence[Document], fixed: Sequence[Document]) -> None:
    found, gone = {_occurrence(issue) for issue in before}, {_occurrence(issue) for issue in fixed}
    for code, path, line in _occurrences(task):
        if code not in RULES or path not in task.paths or (code, path, line) in gone:
            continue
        if (code, path, line) in found:
            task.add_error(f"{path}:{line}: {code} has no automatic fix here.")
        else:
            task.add_error(f"{path}:{line}: there is no {code}; the code may have changed.")


def _occurrence(issue: Document) -> tuple[str, str, int]:
    location = issue["location"]
    return issue["issue_code"], location["path"], location["position"]["begin"]["line"]


def _store(task: Task, patches: Sequence[Document]) -> None:
    for patch in patches:
        if task.storage.supported:
            task.storage.put(task.toml["runID"], patch)
        else:
            task.add_error(f"Snippet storage of type {task.storage.type!r} is not known; no patch is stored.")
