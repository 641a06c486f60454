"""Links of all Markdown files lead to a file or a heading, in the repository and, by the same text, on the site."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.structure.sources import tracked

DOCUMENTS = [path for path in tracked(ROOT) if path.suffix == ".md"]
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)]*))?\)")


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_every_link_leads_somewhere(path: Path) -> None:
    assert not _broken(ROOT / path)


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text(
        "# One – two\n[gone](b.md) [none](#three) [here](#one-two) [there](c.md#x)\n```\n# three\n```\n"
    )
    (tmp_path / "c.md").write_text('## <a id="x"></a>Another\n')

    assert _broken(document) == ["b.md", "#three", "#one-two"]  # GitHub's would be one--two


def _broken(document: Path) -> list[str]:
    return [
        f"{name}#{anchor}" if anchor else name
        for name, anchor in LINK.findall(_prose(document))
        if not _leads(document.parent / name if name else document, anchor)
    ]


def _leads(target: Path, anchor: str) -> bool:
    return target.exists() and (not anchor or anchor in _anchors(target))


@cache
def _anchors(document: Path) -> frozenset[str]:
    """Those that a page has on GitHub and on the site; the two shorten headings differently."""
    text = _prose(document)
    headings = [re.sub(r"<[^>]*>|[`*]", "", match) for match in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
    both = {_slug(each) for each in headings if "--" not in _slug(each)}
    return frozenset(both | set(re.findall(r'<a id="([^"]+)">', text)))


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _prose(document: Path) -> str:
    """The text without its blocks of code."""
    return re.sub(r"^( *)```.*?^\1```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
