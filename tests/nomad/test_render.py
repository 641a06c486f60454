"""`render --driver nomad` prints a job that Nomad accepts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from runner.cli import main
from tests.conftest import ROOT
from tests.nomad.access import Nomad


@pytest.mark.parametrize("name", ["analysis", "autofix"])
def test_the_output_is_accepted_by_nomad_s_job_validation(nomad: Nomad, name: str) -> None:
    shown = CliRunner().invoke(main, ["render", name, str(ROOT / "examples" / f"{name}.json"), "--driver", "nomad"])
    assert shown.exit_code == 0, shown.output
    written: dict[str, Any] = json.loads(shown.stdout)
    written["Job"]["Namespace"] = nomad.namespace
    response = nomad.put("validate/job", {"Job": written["Job"]})
    assert response["ValidationErrors"] is None
    assert response["Error"] == ""
    assert response["Warnings"] == ""
    assert nomad.put("jobs", {"Job": written["Job"]})["EvalID"]
