"""Sizes: lines of modules and functions, names in a folder, names with two meanings."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median

from tests.structure.sources import Source

MODULE_LINES, MEDIAN_MODULE_LINES = 300, 150
FUNCTION_LINES, MEDIAN_FUNCTION_LINES = 45, 10
FOLDER_NAMES = 16
"""Of modules and folders in one folder: few enough to see at a glance."""

SUITES = 24
"""Of folders in tests/, which has one for each suite."""

PAGES = 24
"""Of documents in docs/, which a site's navigation groups."""

WIDE = {Path("tests"): SUITES, Path("docs"): PAGES}


def sizes(source: Source) -> list[int]:
    """The lines of each function, decorators not counted."""
    functions = (node for node in source.definitions() if not isinstance(node, ast.ClassDef))
    return [(node.end_lineno or node.lineno) - node.lineno + 1 for node in functions]


def too_long(source: Source) -> Iterator[str]:
    """A complaint for each module and function over its bound."""
    if source.lines > MODULE_LINES:
        yield f"{source.path}: {source.lines} lines; split it ({MODULE_LINES} at most)"
    for node in source.definitions():
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > FUNCTION_LINES and not isinstance(node, ast.ClassDef):
            yield f"{source.path}:{node.lineno}: {node.name} has {lines} lines; split it ({FUNCTION_LINES} at most)"


def medians(sources: list[Source]) -> Iterator[str]:
    """A complaint for each median over its bound."""
    modules = median(source.lines for source in sources)
    functions = median(size for source in sources for size in sizes(source))
    if modules > MEDIAN_MODULE_LINES:
        yield f"the median module has {modules:.0f} lines ({MEDIAN_MODULE_LINES} at most)"
    if functions > MEDIAN_FUNCTION_LINES:
        yield f"the median function has {functions:.0f} lines ({MEDIAN_FUNCTION_LINES} at most)"


def crowded(paths: Iterable[Path]) -> Iterator[str]:
    """A complaint for each folder with too many names."""
    folders: dict[Path, set[str]] = defaultdict(set)
    for path in paths:
        for child, folder in zip((path, *path.parents), path.parents, strict=False):
            folders[folder].add(child.stem if child == path else child.name)
    for folder, names in sorted(folders.items()):
        shown = names - {"__init__", "__main__", "conftest"}
        bound = WIDE.get(folder, FOLDER_NAMES)
        if folder != Path() and len(shown) > bound:
            yield f"{folder}/: {len(shown)} names; make packages ({bound} at most)"


def shared_class_names(sources: Iterable[Source]) -> Iterator[str]:
    """A complaint for each class name that two modules define."""
    places: dict[str, list[Path]] = defaultdict(list)
    for source in sources:
        for node in source.definitions():
            if isinstance(node, ast.ClassDef):
                places[node.name].append(source.path)
    for name, paths in sorted(places.items()):
        if len(paths) > 1:
            yield f"{name} is a class in {' and in '.join(map(str, paths))}; one word means one thing"


def logs_that_are_no_logger(sources: Iterable[Source]) -> Iterator[str]:
    """A complaint for each definition of `log` that is anything but the module's logger."""
    for source in sources:
        loggers = {node.lineno for node in source.tree.body if _is_logger(node)}
        for name, line in source.names():
            if name == "log" and line not in loggers:
                yield f"{source.path}:{line}: `log` is the logger everywhere; use another name"


def _is_logger(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("logging.getLogger(")
