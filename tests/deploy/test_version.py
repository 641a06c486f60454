"""One version for the server, the client package and the documents."""

from __future__ import annotations

import re
import tomllib

from click.testing import CliRunner

from runner import __version__
from runner.cli import main
from tests.conftest import ROOT


def test_the_client_package_has_it() -> None:
    assert tomllib.loads((ROOT / "proto" / "pyproject.toml").read_text())["project"]["version"] == __version__


def test_the_changes_begin_with_it() -> None:
    found = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert found is not None
    assert found[1] == __version__


def test_the_command_line_prints_it() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout == f"orchestrator {__version__}\n"
