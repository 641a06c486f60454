"""The mode `--analyze`: finds issues in all files, or in the files of a change."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .errors import NOTE
from .files import Sources
from .rules import RULES
from .task import Task, is_disabled

Document = dict[str, Any]

_SKIPPED = re.compile(r"#\s*skipcq(?::\s*(?P<codes>[A-Za-z0-9, -]+))?", re.IGNORECASE)


def analyze(task: Task) -> Document:
    """Check all rules. Gives the report."""
    paths = _selected_paths(task)
    issues = task.issues(paths, RULES.values())
    for name in task.toml.get("processors") or ():
        if process := PROCESSORS.get(name):
            issues = process(issues, Sources(task.code))
        else:
            task.add_error(f"The processor {name!r} is not known here; it was skipped.", NOTE)
    return {
        "issues": issues,
        "metrics": _metrics(task.code, paths),
        "is_passed": not issues,
        "file_meta": {"if_all": paths == task.paths, **_changes(task)},
    }


def _selected_paths(task: Task) -> list[str]:
    name = task.toml.get("analyzerShortcode", "")
    if is_disabled(task.settings.get("analyzers"), name):
        task.add_error(f"The analyzer {name!r} is switched off in the repository's settings.", NOTE)
        return []
    commits = () if task.toml.get("is_full_run") else task.toml.get("diffMetaCommits") or ()
    changed = {path for commit in commits for path in commit.get("paths") or ()}
    return [path for path in task.paths if path in changed] if changed else task.paths


def load_source(issues: list[Document], sources: Sources) -> list[Document]:
    """Give each issue the line on which it begins."""
    for issue in issues:
        location = issue["location"]
        line = sources.line(location["path"], location["position"]["begin"]["line"])
        issue["meta"]["source"] = line
    return issues


def skip_marked(issues: list[Document], sources: Sources) -> list[Document]:
    """Remove issues with a `# skipcq` on their line, or alone on the line above."""
    return [issue for issue in issues if not _is_marked(issue, sources)]


def _is_marked(issue: Document, sources: Sources) -> bool:
    path, number = issue["location"]["path"], issue["location"]["position"]["begin"]["line"]
    above = sources.line(path, number - 1).strip()
    for line in (sources.line(path, number), above if above.startswith("#") else ""):
        if mark := _SKIPPED.search(line):
            codes = re.split(r"[,\s]+", (mark["codes"] or issue["issue_code"]).upper())
            return issue["issue_code"] in codes
    return False


PROCESSORS: dict[str, Callable[[list[Document], Sources], list[Document]]] = {
    "source_code_load": load_source,
    "skip_cq": skip_marked,
}


def _metrics(code: Path, paths: Sequence[str]) -> list[Document]:
    texts = ((code / path).read_bytes() for path in paths)
    lines = sum(sum(1 for line in text.splitlines() if line.strip()) for text in texts)
    return [
        {"metric_code": "LOC", "value": lines},
        {"metric_code": "FILES", "value": len(paths)},
    ]


def _changes(task: Task) -> Document:
    """What differs between the two commits, by `git diff`."""
    changes: dict[str, list[str]] = {"deleted": [], "renamed": [], "modified": [], "added": []}
    base, checkout = task.toml.get("baseOID"), task.toml.get("checkoutOID")
    if not base or not checkout or base == checkout:
        return changes
    names = {"A": "added", "D": "deleted", "R": "renamed"}
    try:
        for letter, path in _diff(task.code, base, checkout):
            changes[names.get(letter, "modified")].append(path)
    except (OSError, subprocess.SubprocessError) as error:
        task.add_error(f"The changes since {base} are unknown: {type(error).__name__}.", NOTE)
    return changes


_GIT_CONFIG = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",  # a volume belongs to root, and the job is not root
    "GIT_CONFIG_VALUE_0": "*",
}


def _diff(code: Path, base: str, checkout: str) -> Iterator[tuple[str, str]]:
    """Letter of the change and path; the new path of a renamed file (git-diff(1), -z)."""
    flags = ("--name-status", "--no-ext-diff", "--find-renames", "-z", "--end-of-options")
    ended = subprocess.run(
        ["git", "-C", str(code), "diff", *flags, base, checkout, "--"],
        env={"PATH": os.environ.get("PATH", os.defpath), **_GIT_CONFIG},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=True,
        timeout=60,
    )
    fields = iter(ended.stdout.split("\0")[:-1])
    for letter in fields:
        path = next(fields)
        yield letter[0], next(fields) if letter[0] in "RC" else path
