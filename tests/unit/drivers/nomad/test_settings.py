"""The `nomad` section of the configuration: errors in it, and the commands that show where jobs run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from runner.cli import main
from runner.config.types import Config
from runner.errors import Invalid
from tests.conftest import ROOT

MakeConfig = Callable[..., Config]


@pytest.mark.parametrize(
    ("section", "pointer"),
    [
        ({"address": "nomad.example:4646"}, "/nomad/address"),
        ({"address": "https://nomad.example:4646/v1"}, "/nomad/address"),
        ({"priority": 101}, "/nomad/priority"),
        ({"taskDriver": "java"}, "/nomad/taskDriver"),
        ({"coreMhz": 0}, "/nomad/coreMhz"),
        ({"certFile": __file__}, "/nomad/keyFile"),
        ({"keyFile": __file__}, "/nomad/certFile"),
        ({"caFile": "/nowhere/ca.pem"}, "/nomad/caFile"),
        ({"constraints": [{"value": "x"}]}, "/nomad/constraints/0/attribute"),
        ({"tokenfile": "x"}, "/nomad/tokenfile"),
    ],
)
def test_errors_have_the_pointer_of_the_setting(make_config: MakeConfig, section: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as caught:
        make_config(nomad=section)
    assert [problem.pointer for problem in caught.value.problems] == [pointer]


def test_the_section_does_not_choose_the_driver(make_config: MakeConfig) -> None:
    assert make_config(nomad={}, driver=None).default_driver == "local"


def test_check_config_shows_where_jobs_run(write_config: Callable[..., Path], tmp_path: Path) -> None:
    path = write_config(
        tmp_path, driver="nomad", pools={"plan-pf": {"namespace": "paid"}}, nomad={"taskDriver": "exec"}
    )
    shown = CliRunner().invoke(main, ["check-config", "--config", str(path)])
    assert shown.exit_code == 0, shown.output
    assert "nomad: namespace default at https://127.0.0.1:4646, by exec" in shown.output
    assert "nomad: namespace paid" in shown.output


@pytest.mark.parametrize(
    ("arguments", "expected"), [(["--driver", "nomad"], '"TaskGroups"'), ([], "activeDeadlineSeconds")]
)
def test_render_uses_the_driver_of_the_option(arguments: list[str], expected: str) -> None:
    sample = str(ROOT / "examples" / "analysis.json")
    shown = CliRunner().invoke(main, ["render", "analysis", sample, *arguments])
    assert shown.exit_code == 0, shown.output
    assert expected in shown.stdout


def test_render_uses_the_driver_of_the_pool_by_default(write_config: Callable[..., Path], tmp_path: Path) -> None:
    path = write_config(tmp_path, driver="nomad")
    sample = str(ROOT / "examples" / "analysis.json")
    shown = CliRunner().invoke(main, ["render", "analysis", sample, "--config", str(path)])
    assert '"TaskGroups"' in shown.stdout
