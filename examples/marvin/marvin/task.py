"""One task: the request, the settings, the code, ruff, and the errors for the report."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import WARNING, MarvinError
from .files import Sources, python_files
from .publishing import Storage
from .ruff import Ruff
from .rules import CODES

Document = dict[str, Any]


class Task:
    """What a mode works with. Raises MarvinError where the settings or the code cannot be read."""

    def __init__(
        self,
        toml: Document,
        options: argparse.Namespace,
        environ: Mapping[str, str],
    ) -> None:
        self.toml = toml
        self.settings = _settings(options.config)
        self.storage = Storage(options, environ)
        self.errors: list[Document] = []
        root = Path(environ.get("ORCHESTRATOR_ROOT") or "/")
        self.code = Path(environ.get("CODE_PATH") or root / "code").resolve()
        if not self.code.is_dir():
            raise MarvinError(f"There is no code in {self.code}; was it cloned?")
        self.ruff = Ruff(self.code, _target(self.settings), environ)
        self.paths = python_files(self.code, self.settings.get("exclude_patterns") or ())

    def add_error(self, hmessage: str, level: int = WARNING) -> None:
        """Add an error to the report, once. Everything that is requested and not done gets one."""
        if (error := {"hmessage": hmessage, "level": level}) not in self.errors:
            self.errors.append(error)

    def change(self, paths: Sequence[str], *command: str) -> None:
        """Let ruff change files. What it complains of becomes an error of the report."""
        for complaint in self.ruff.change(paths, *command):
            self.add_error(complaint)

    def issues(self, paths: Sequence[str], rules: Iterable[str]) -> list[Document]:
        """What ruff finds, as issues. A file that it cannot read becomes an error of the report."""
        found = self.ruff.diagnostics(paths, rules)
        sources = Sources(self.code)
        seen: Counter[tuple[str, ...]] = Counter()
        issues = []
        for diagnostic in found:
            path = str(Path(diagnostic["filename"]).relative_to(self.code))
            if diagnostic["code"] in CODES:
                line = sources.line(path, diagnostic["location"]["row"]).strip()
                issues.append(_issue(diagnostic, path, line, seen))
            else:
                self.add_error(f"{path}: {diagnostic['message']}")
        return issues


def is_disabled(entries: Sequence[Document] | None, name: str) -> bool:
    """Whether a list of the settings, `analyzers` or `transformers`, disables an entry."""
    return any(entry.get("name") == name and not entry.get("enabled") for entry in entries or ())


def _settings(text: str) -> Document:
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise MarvinError(f"--config is not JSON: {error}") from error
    if not isinstance(settings, dict):
        raise MarvinError("--config must be a JSON object")
    return settings


def _target(settings: Document) -> str:
    """The oldest Python that the code supports, as ruff writes it; `3.x.x` is the newest."""
    entries: Sequence[Document] = settings.get("analyzers") or ()
    python = next((entry for entry in entries if entry.get("name") == "python"), Document())
    version = python.get("runtime_version") or (python.get("meta") or {}).get("runtime_version")
    minor = re.match(r"3\.(\d{1,2})", str(version or ""))
    return f"py3{min(max(int(minor[1]), 7), 13) if minor else 13}"


def _issue(
    diagnostic: Document,
    path: str,
    line: str,
    seen: Counter[tuple[str, ...]],
) -> Document:
    """`seen` counts equal lines with equal issues, so that their identifiers differ."""
    code = CODES[diagnostic["code"]]
    seen[code, path, line] += 1
    identity = f"{code}\n{path}\n{line}\n{seen[code, path, line]}"
    position = {
        "begin": _position(diagnostic["location"]),
        "end": _position(diagnostic["end_location"]),
    }
    fix = diagnostic["fix"] or {"applicability": "none"}
    return {
        "issue_code": code,
        "issue_text": diagnostic["message"],
        "location": {"path": path, "position": position},
        "identifier": hashlib.sha256(identity.encode()).hexdigest()[:32],
        "meta": {
            "rule": diagnostic["code"],
            "url": diagnostic["url"] or "",
            "fix": fix["applicability"],
        },
    }


def _position(location: Document) -> Document:
    return {"line": location["row"], "column": location["column"]}
