"""The table of the chart's values in docs/deploy.md, made from values.yaml.

    python -m tests.deploy.values_table

writes it anew. A value's description is the comment directly above it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from tests.conftest import ROOT
from tests.deploy.chart import CHART

DOCUMENT = ROOT / "docs" / "deploy.md"
BEGIN, END = "<!-- values: begin -->\n", "<!-- values: end -->\n"
VALUES = CHART / "values.yaml"


def described() -> Iterator[tuple[str, str]]:
    """Each described key, dotted, and its description."""
    section, comment = "", ""
    for line in VALUES.read_text().splitlines():
        if found := re.match(r"\s*# ?(.*)", line):
            comment = f"{comment} {found[1]}".strip()
            continue
        if found := re.match(r"(  )?(\w+):", line):
            section = section if found[1] else found[2]
            if comment:
                yield (f"{section}.{found[2]}" if found[1] else found[2]), comment
        comment = ""


def default_of(key: str) -> str:
    value = yaml.safe_load(VALUES.read_text())
    for part in key.split("."):
        value = value[part]
    return (
        ""
        if value in ("", [], {})
        else f"`{yaml.safe_dump(value, default_flow_style=True, width=1000).split('...')[0].strip()}`"
    )


def table() -> str:
    rows = [f"| `{key}` | {default_of(key)} | {text} |" for key, text in described()]
    return "\n".join(["| value | default | |", "|---|---|---|", *rows]) + "\n"


def written(document: str) -> str:
    """The document with the table as it should be."""
    before, _, rest = document.partition(BEGIN)
    return before + BEGIN + "\n" + table() + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text()))
