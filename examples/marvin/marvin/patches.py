"""Patches: what ruff has changed, as unified diffs that `git apply` accepts."""

from __future__ import annotations

import difflib
import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Document = dict[str, Any]

_NO_NEWLINE = "\\ No newline at end of file"


@dataclass(frozen=True)
class Snapshot:
    """The contents of files before a change."""

    code: Path
    contents: Mapping[str, bytes]

    @classmethod
    def take(cls, code: Path, paths: Iterable[str]) -> Snapshot:
        """Read the files into memory."""
        return cls(code, {path: (code / path).read_bytes() for path in paths})

    def patches(self) -> list[Document]:
        """A patch for every file that has changed since."""
        now = {path: (self.code / path).read_bytes() for path in self.contents}
        before = self.contents
        return [_patch(path, before[path], now[path]) for path in now if now[path] != before[path]]


def _patch(path: str, old: bytes, new: bytes) -> Document:
    lines = difflib.unified_diff(_lines(old), _lines(new), f"a/{path}", f"b/{path}")
    text = "".join(line if line.endswith("\n") else f"{line}\n{_NO_NEWLINE}\n" for line in lines)
    return {"id": hashlib.sha256(text.encode()).hexdigest()[:16], "path": path, "patch": text}


def _lines(content: bytes) -> list[str]:
    """Split at line feeds only, as git does; str.splitlines would also split at form feeds."""
    return list(io.StringIO(content.decode(), newline="\n"))
