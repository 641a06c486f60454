"""The input of marvin: code, and the flags that the Orchestrator makes of a request."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import rtoml

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Document = dict[str, Any]

UNUSED = "import os\n\nprint(1)\n"
"""A file with one issue, PYL-W0611, that has a safe fix."""


def write_code(root: Path, files: dict[str, str]) -> Path:
    """Write files where coat would put them. Gives the code directory."""
    for name, content in files.items():
        path = root / "code" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())
    return root / "code"


def analyze_flags(run_id: str, config: Document | None = None, **toml: Any) -> tuple[str, ...]:
    """The flags with all keys of the wire contract; `toml` sets some of them."""
    document = {
        "runID": run_id,
        "runSerial": "0",
        "checkSeq": "1",
        "analyzerShortcode": "python",
        "analyzerCommand": "/app/marvin-python",
        "analyzerType": "core",
        "baseOID": "",
        "checkoutOID": "",
        "repository": "",
        "is_full_run": False,
        "isForDefaultAnalysisBranch": False,
        "dsConfigUpdated": False,
        "processors": [],
        "diffMetaCommits": [],
        "previousCompletedRunCommitOID": "",
        "repoID": 0,
        **toml,
    }
    return ("--analyze", rtoml.dumps(document), "--config", json.dumps(config or {"version": 1}))


def occurrence(code: str, path: str, line: int) -> Document:
    """One place to fix, as a request names it."""
    position = {"begin": {"line": line, "column": 1}, "end": {"line": line, "column": 1}}
    return {"issue_code": code, "occurrences": [{"path": path, "position": position}]}


def autofix_flags(run_id: str, *autofixes: Document) -> tuple[str, ...]:
    """The flags with compressed and encoded TOML, as the Orchestrator makes them."""
    document = {
        "runID": run_id,
        "analyzerShortcode": "python",
        "autofixerCommand": "/app/autofix.sh",
        "checkoutOID": "",
        "autofix_issues": json.dumps(autofixes),
    }
    packed = base64.b64encode(zstd.compress(rtoml.dumps(document).encode(), level=15))
    return ("--autofix", packed.decode(), "--config", '{"version": 1}')


def transform_flags(run_id: str, *tools: str, config: Document | None = None) -> tuple[str, ...]:
    """The flags for a request with that list of tools."""
    commit = {"Title": "Format", "Message": "", "DestinationBranch": "main"}
    document = {
        "runID": run_id,
        "baseOID": "",
        "checkoutOID": "",
        "transformerCommand": "",
        "transformerTools": list(tools),
        "dsConfigUpdated": False,
        "patch_commit": {"Author": {"Name": "Ada", "Email": "ada@example.org"}, "Commit": commit},
    }
    return ("--transform", rtoml.dumps(document), "--config", json.dumps(config or {}))


def apply(code: Path, patches: list[Document]) -> None:
    """Run `git apply` in a plain directory. Raises where a patch does not fit."""
    for patch in patches:
        command = ["git", "apply", "--whitespace=nowarn", "-"]
        subprocess.run(command, cwd=code, input=patch["patch"].encode(), check=True)
