"""A hook of mkdocs: links to the repository's files outside of docs/ work on the site as well.

Each file that a page links to becomes a page below repository/: Markdown as it is, a directory as a list of its files,
anything else as a block of code. In the repository, the same links lead to the files themselves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)((?:#[^)]*)?)\)")
FENCE = re.compile(r"^(```\w+) .+$", re.MULTILINE)
LANGUAGES = {".py": "python", ".proto": "protobuf", ".yaml": "yaml", ".yml": "yaml", ".json": "json", ".hcl": "hcl"}
TEST = re.compile(r"<code>(tests/[\w/]+\.py::\w+)</code>")
BREAK = re.compile(r"(::|[/_])(?=\w)(?!code)")
UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each file that is linked to, and for those that these link to in turn."""
    waiting = sorted(DOCS.glob("*.md"))
    while waiting:
        source = waiting.pop()
        for target in _targets(source):
            if target.is_relative_to(DOCS) or files.get_file_from_path(_page(target)):
                continue
            files.append(File.generated(config, _page(target), content=_content(target)))
            waiting.append(target)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page's text with its links as the site needs them, and with fences that have a language and nothing else."""
    at = page.file.src_uri
    if not at.startswith("repository/"):
        markdown = _rewritten(markdown, DOCS / at)
    return FENCE.sub(r"\1", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """The page with the names of tests, which are long, broken between words only."""
    return TEST.sub(lambda match: BREAK.sub(r"\1<wbr>", match[0]), html)


def _targets(source: Path) -> Iterator[Path]:
    if source.is_dir():
        yield from _listed(source)
    elif source.suffix == ".md":
        for match in LINK.finditer(source.read_text()):
            yield (source.parent / match[1]).resolve()


def _listed(directory: Path) -> list[Path]:
    return sorted(each for each in directory.iterdir() if each.name != "__pycache__")


def _page(target: Path) -> str:
    """The path on the site of a file of the repository, below docs/."""
    if target.is_relative_to(DOCS):
        return target.relative_to(DOCS).as_posix()
    path = "repository/" + target.relative_to(ROOT).as_posix()
    return path if path.endswith(".md") else f"{path}.md"


def _content(target: Path) -> str:
    if target.suffix == ".md":
        return UNSEARCHED + _rewritten(target.read_text(), target)
    title = f"{UNSEARCHED}# {target.relative_to(ROOT)}\n\n"
    if target.is_dir():
        return title + "\n".join(f"- [{each.name}]({_link(each, target)})" for each in _listed(target)) + "\n"
    return f"{title}````{LANGUAGES.get(target.suffix, 'text')}\n{target.read_text()}\n````\n"


def _rewritten(markdown: str, source: Path) -> str:
    def replaced(match: re.Match[str]) -> str:
        return f"]({_link((source.parent / match[1]).resolve(), source)}{match[2]})"

    return LINK.sub(replaced, markdown)


def _link(target: Path, source: Path) -> str:
    """From one page of the site to another."""
    return os.path.relpath(_page(target), Path(_page(source)).parent)
