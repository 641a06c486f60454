"""The files of the code: which there are, which the settings exclude, and their lines."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path


def python_files(code: Path, exclude: Sequence[str]) -> list[str]:
    """Relative paths of Python files, sorted, without those that a pattern of `exclude` matches."""
    patterns = [_pattern(glob) for glob in exclude]
    return [path for path in _all(code) if not any(pattern.fullmatch(path) for pattern in patterns)]


def _all(code: Path) -> list[str]:
    """Symbolic links are left out: they may lead out of the code."""
    found = []
    for directory, names, files in os.walk(code):
        names[:] = [name for name in names if name != ".git"]
        paths = (Path(directory, name) for name in files if name.endswith((".py", ".pyi")))
        found += [str(path.relative_to(code)) for path in paths if not path.is_symlink()]
    return sorted(found)


def _pattern(glob: str) -> re.Pattern[str]:
    """As in .gitignore: `*` does not match a `/`, `**` does; a pattern without a `/` matches at any depth."""
    anchored = glob.strip("/") if "/" in glob.rstrip("/") else f"**/{glob.strip('/')}"
    tokens = re.findall(r"\*\*/|\*\*|\*|\?|[^*?]+", anchored)
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    regex = "".join(parts.get(token) or re.escape(token) for token in tokens)
    return re.compile(f"{regex}(?:/.*)?")


class Sources:
    """Lines of files. Reads each file once."""

    def __init__(self, code: Path) -> None:
        self._code = code
        self._lines: dict[str, list[str]] = {}

    def line(self, path: str, number: int) -> str:
        """The line of that number, counted from 1; empty where there is none."""
        if path not in self._lines:
            self._lines[path] = (self._code / path).read_text("utf-8", "replace").split("\n")
        lines = self._lines[path]
        return lines[number - 1] if 0 < number <= len(lines) else ""
