"""The documentation as a site: built without a warning, every link leads somewhere, no other host is needed."""

from __future__ import annotations

import os
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import ROOT

MKDOCS = ROOT / ".venv-docs" / "bin" / "mkdocs"
LOADED = {"script": "src", "img": "src", "iframe": "src", "link": "href"}
"""What a browser loads by itself, by the element."""


class Page(HTMLParser):
    """What one page of the site links to and loads, and the places in it that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.places: set[str] = set()
        self.diagrams = False
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.places |= {values.get("id", ""), values.get("name", "")}
        self.diagrams |= "mermaid" in values.get("class", "")  # its script would come from another host
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in LOADED and LOADED[tag] in values:
            self.loaded.append(values[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site's directory."""
    if not MKDOCS.exists():
        reason = "there is no .venv-docs to build the site with"
        if os.environ.get("CI") == "true":
            pytest.fail(f"with CI=true, the site must be built, but {reason}: run `make docs` first")
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("site")
    command = (MKDOCS, "build", "--strict", "--site-dir", directory)
    built = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return directory


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """The pages by their files. That of a path that is not found is for the root of a host, and has absolute links."""
    return {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}


def test_every_document_is_a_page(site: Path) -> None:
    assert [each.stem for each in (ROOT / "docs").glob("*.md") if not (site / f"{each.stem}.html").exists()] == []


def test_every_link_leads_to_a_file_and_a_place(pages: dict[Path, Page]) -> None:
    assert [
        f"{path.name}: {link}" for path, page in pages.items() for link in page.links if _broken(path, link, pages)
    ] == []


def _broken(path: Path, link: str, pages: dict[Path, Page]) -> bool:
    url = urlsplit(link)
    target = (path.parent / unquote(url.path)).resolve() if url.path else path
    if url.scheme or link in ("", "."):
        return False
    return not target.exists() or bool(url.fragment and unquote(url.fragment) not in pages[target].places)


def test_nothing_is_loaded_from_another_host(site: Path, pages: dict[Path, Page]) -> None:
    assert [each for page in pages.values() for each in page.loaded if urlsplit(each).netloc] == []
    assert not any(page.diagrams for page in pages.values())
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)]*", styles) == []


def test_the_viewer_of_the_api_asks_no_validator(site: Path) -> None:
    (viewer,) = site.glob("swagger-*.html")
    assert re.search(r"validatorUrl\W+none", viewer.read_text())
