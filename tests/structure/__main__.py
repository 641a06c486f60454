"""`python -m tests.structure`: the table, then every complaint; exit code 1 where there is one."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.structure import shape, words
from tests.structure.sources import Source, parse, tracked

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("functions", "runner", "examples", "proto")
"""Sizes are bounded here; words everywhere."""

PROSE_FILES = {".py", ".md", ".toml", ".ini", ".yaml", ".yml", ".hcl", ".proto", ".sh", ".html", ".css", ""}
EXEMPT = ("tests/structure/",)
"""Lists the words themselves."""


def main() -> int:
    """Print and judge."""
    paths = [path for path in tracked(ROOT) if not str(path).startswith(EXEMPT)]
    sources = [parse(ROOT, path) for path in paths if path.suffix == ".py"]
    product = [source for source in sources if source.path.parts[0] in PRODUCT]
    _print_table(product)
    complaints = list(_complaints(paths, sources, product))
    for complaint in complaints:
        print(complaint)
    print(f"{len(complaints)} complaints" if complaints else "structure: all bounds hold")
    return bool(complaints)


def _complaints(paths: list[Path], sources: list[Source], product: list[Source]) -> Iterator[str]:
    ours = [source for source in product if source.path.parts[0] in ("functions", "runner")]
    for source in product:
        yield from shape.too_long(source)
    yield from shape.medians(ours)
    yield from shape.crowded(paths)
    yield from shape.shared_class_names(ours)
    yield from shape.logs_that_are_no_logger(ours)
    for source in sources:
        yield from words.in_names(source)
    for path in paths:
        if path.suffix in PROSE_FILES:
            yield from words.in_prose(path, (ROOT / path).read_text(encoding="utf-8"))


def _packages(sources: list[Source]) -> dict[Path, list[Source]]:
    packages: dict[Path, list[Source]] = defaultdict(list)
    for source in sources:
        packages[source.path.parent].append(source)
    return packages


def _print_table(product: list[Source]) -> None:
    print(f"{'package':<34} {'modules':>7} {'lines':>6} {'median':>6} {'max':>5}   functions: {'median':>6} {'max':>4}")
    for package, members in sorted(_packages(product).items()):
        lines = [source.lines for source in members]
        functions = [size for source in members for size in shape.sizes(source)] or [0]
        print(
            f"{package!s:<34} {len(members):>7} {sum(lines):>6} {median(lines):>6.0f} {max(lines):>5}"
            f"   {len(functions):>9}: {median(functions):>6.0f} {max(functions):>4}"
        )


if __name__ == "__main__":
    sys.exit(main())
