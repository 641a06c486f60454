"""The table of modes: analyze, autofix, transform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import zstd
from .analysis import analyze
from .autofix import autofix
from .task import Task
from .transform import transform

Document = dict[str, Any]


@dataclass(frozen=True)
class Mode:
    """One row. `decode` gives the TOML of the flag, `names` more fields of the result, `empty` an empty report."""

    noun: str
    decode: Callable[[str], str]
    run: Callable[[Task], Document]
    names: Callable[[Document], Document]
    empty: Document


MODES = {
    "analyze": Mode(
        noun="analysis",
        decode=str,
        run=analyze,
        names=lambda toml: {
            "check_seq": str(toml.get("checkSeq", "")),
            "analyzer_shortcode": toml.get("analyzerShortcode", ""),
        },
        empty={
            "issues": [],
            "metrics": [],
            "is_passed": False,
            "errors": [],
            "file_meta": {
                "if_all": False,
                "deleted": [],
                "renamed": [],
                "modified": [],
                "added": [],
            },
            "extra_data": {},
        },
    ),
    "autofix": Mode(
        noun="autofix",
        decode=zstd.decode,
        run=autofix,
        names=lambda _: {"check_seq": "1"},
        empty={
            "changed_files": [],
            "issues_fixed": [],
            "patches": [],
            "errors": [],
            "extra_data": {},
        },
    ),
    "transform": Mode(
        noun="transformation",
        decode=str,
        run=transform,
        names=lambda _: {},
        empty={
            "changed_files": [],
            "commit_sha": "",
            "commit_created": False,
            "errors": [],
            "patches": [],
        },
    ),
}
"""By the name of the flag. A report always has the keys of `empty`."""
