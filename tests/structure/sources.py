"""Which files are measured, and what is defined in them."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GENERATED = (
    *("tasks_pb2.py", "tasks_pb2.pyi", "orchestrator_client/v1.py"),
    *("requirements.txt", "requirements-demo.txt", "requirements-telemetry.txt", "requirements-dev.txt"),
    "requirements-docs.txt",
)


@dataclass(frozen=True)
class Source:
    """A Python file, parsed."""

    path: Path
    tree: ast.Module
    lines: int

    def definitions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
        """Every class and function in the file, nested ones as well."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield node

    def names(self) -> Iterator[tuple[str, int]]:
        """Every name that the file defines (classes, functions, parameters, variables), with its line."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield node.name, node.lineno
            elif isinstance(node, ast.arg):
                yield node.arg, node.lineno
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id, node.lineno
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                yield node.attr, node.lineno


def tracked(root: Path) -> list[Path]:
    """Every text file of the project that a person writes, relative to `root`."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = (Path(line) for line in sorted(set(listed.stdout.splitlines())))
    return [path for path in paths if not str(path).endswith(GENERATED) and (root / path).is_file()]


def parse(root: Path, path: Path) -> Source:
    """The Python file at `path`."""
    text = (root / path).read_text(encoding="utf-8")
    return Source(path, ast.parse(text), len(text.splitlines()))
