"""Every value of the chart is described, in the schema, and in the table of docs/deploy.md."""

from __future__ import annotations

import json
from typing import Any

import yaml

from tests.deploy import values_table
from tests.deploy.chart import CHART

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SECTIONS = {key for key, part in SCHEMA["properties"].items() if part.get("additionalProperties") is False}


def test_the_document_has_the_table() -> None:
    document = values_table.DOCUMENT.read_text()
    assert values_table.written(document) == document, "run `python -m tests.deploy.values_table`"


def test_every_value_is_described() -> None:
    keys = {key for key in VALUES if key not in SECTIONS}
    keys |= {f"{section}.{key}" for section in SECTIONS for key in VALUES[section]}
    assert {key for key, _ in values_table.described()} == keys


def test_the_schema_has_every_value_and_no_other() -> None:
    assert set(SCHEMA["properties"]) - {"global"} == set(VALUES)
    for section in SECTIONS:
        assert set(SCHEMA["properties"][section]["properties"]) == set(VALUES[section]), section
