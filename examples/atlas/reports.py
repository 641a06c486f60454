"""What the page shows of a result. A missing or malformed part is shown as nothing: a job may send any JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from examples.atlas.runs import Result


class Issue(msgspec.Struct, frozen=True):
    """One row of the table of issues. `source` is the line of code without its indentation, or empty."""

    place: str
    code: str
    text: str
    source: str


class Line(msgspec.Struct, frozen=True):
    """One line of a diff. `kind` is file, hunk, added, removed or same."""

    kind: str
    text: str


class Patch(msgspec.Struct, frozen=True):
    """The diff of one file."""

    path: str
    lines: tuple[Line, ...]

    @property
    def added(self) -> int:
        """How many lines it adds."""
        return sum(line.kind == "added" for line in self.lines)

    @property
    def removed(self) -> int:
        """How many lines it removes."""
        return sum(line.kind == "removed" for line in self.lines)


class Report(msgspec.Struct, frozen=True):
    """A result as the page shows it. `messages` is what the job could not do; `commit` is an id, or empty."""

    message: str
    error: str
    commit: str
    messages: tuple[str, ...]
    issues: tuple[Issue, ...]
    patches: tuple[Patch, ...]


def report(result: Result) -> Report:
    """Read a result. Never raises: what is not as expected is left out."""
    status, document = _part(result.kwargs, "status"), _part(result.kwargs, "report")
    return Report(
        message=_text(status, "hmessage"),
        error=_text(status, "err"),
        commit=_text(result.kwargs, "commit_sha"),
        messages=tuple(_text(each, "hmessage") for each in _list(document, "errors")),
        issues=tuple(map(_issue, _list(document, "issues"))),
        patches=tuple(map(_patch, _list(document, "patches"))),
    )


def _issue(issue: Mapping[str, Any]) -> Issue:
    location = _part(issue, "location")
    begin = _part(_part(location, "position"), "begin")
    return Issue(
        place=f"{_text(location, 'path')}:{_text(begin, 'line')}:{_text(begin, 'column')}",
        code=_text(issue, "issue_code"),
        text=_text(issue, "issue_text"),
        source=_text(_part(issue, "meta"), "source").strip(),
    )


def _patch(patch: Mapping[str, Any]) -> Patch:
    return Patch(_text(patch, "path"), tuple(map(_line, _text(patch, "patch").splitlines())))


_KINDS = {"+++": "file", "---": "file", "@@": "hunk", "+": "added", "-": "removed"}
"""By the beginning of a line; the first that fits."""


def _line(text: str) -> Line:
    return Line(next((kind for start, kind in _KINDS.items() if text.startswith(start)), "same"), text)


def _part(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = document.get(key)
    return part if isinstance(part, dict) else {}


def _list(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    part = document.get(key)
    return [each for each in part if isinstance(each, dict)] if isinstance(part, list) else []


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    return "" if value is None else str(value)
