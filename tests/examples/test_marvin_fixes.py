"""`marvin --autofix` and `--transform`: patches that git accepts, and an error for everything that was not done."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.examples.conftest import Atlas, Program
from tests.examples.marvin_flags import (
    UNUSED,
    Document,
    apply,
    autofix_flags,
    occurrence,
    transform_flags,
    write_code,
)

UNFORMATTED = "import sys, os\nx = { 'a':1 }\nprint( sys, os,x )\n"


def fix(marvin: Program, atlas: Atlas, run_id: str, *autofixes: Document) -> Document:
    flags = (*autofix_flags(run_id, *autofixes), *atlas.storage)
    ended = marvin(*flags, **atlas.publisher("autofix", run_id))
    assert ended.returncode == 0, ended.stderr
    report: Document = atlas.result(run_id)["report"]
    return report


def transform(marvin: Program, atlas: Atlas, run_id: str, *tools: str, **more: Any) -> Document:
    flags = transform_flags(run_id, *tools, **more)
    ended = marvin(*flags, **atlas.publisher("transformer", run_id))
    assert ended.returncode == 0, ended.stderr
    report: Document = atlas.result(run_id)["report"]
    return report


def errors(report: Document) -> list[str]:
    return [error["hmessage"] for error in report["errors"]]


def test_the_autofix_result_has_the_shape_of_the_contract(
    marvin: Program, root: Path, atlas: Atlas, run_id: str
) -> None:
    write_code(root, {"a.py": UNUSED})
    report = fix(marvin, atlas, run_id, occurrence("PYL-W0611", "a.py", 1))
    patch_id = report["patches"][0].pop("id")
    assert atlas.result(run_id) == {
        "run_id": run_id,
        "status": {"code": 0, "hmessage": "The autofix is done.", "err": ""},
        "check_seq": "1",
        "report": {
            "changed_files": ["a.py"],
            "issues_fixed": [
                {
                    "issue_code": "PYL-W0611",
                    "path": "a.py",
                    "position": {
                        "begin": {"line": 1, "column": 8},
                        "end": {"line": 1, "column": 10},
                    },
                }
            ],
            "patches": [
                {
                    "path": "a.py",
                    "patch": "--- a/a.py\n+++ b/a.py\n@@ -1,3 +1,2 @@\n-import os\n \n print(1)\n",
                }
            ],
            "errors": [],
            "extra_data": {},
        },
        "report_object": "",
    }
    assert len(patch_id) == 16


@pytest.mark.parametrize(
    "content",
    [
        UNUSED,
        UNUSED.rstrip("\n"),
        UNUSED.replace("\n", "\r\n"),
        "import os",
        f"\ufeff{UNUSED}",
        UNUSED + "x = 'a\x0cb\u2028c'\n",
    ],
    ids=["plain", "no last newline", "crlf", "nothing left", "byte order mark", "odd line ends"],
)
@pytest.mark.parametrize("name", ["a.py", "a b.py", "é/ü.py"])
def test_a_patch_applied_to_the_old_file_gives_the_fixed_file(
    content: str, name: str, marvin: Program, root: Path, atlas: Atlas, run_id: str
) -> None:
    code = write_code(root, {name: content})
    report = fix(marvin, atlas, run_id, occurrence("PYL-W0611", name, 1))
    fixed = (code / name).read_bytes()
    assert fixed != content.encode()
    write_code(root, {name: content})
    apply(code, report["patches"])
    assert (code / name).read_bytes() == fixed


def test_only_the_codes_requested_for_a_file_are_fixed_in_it(
    marvin: Program, root: Path, atlas: Atlas, run_id: str
) -> None:
    code = write_code(root, {"a.py": UNUSED + 'print(f"x")\n', "b.py": UNUSED})
    report = fix(marvin, atlas, run_id, occurrence("PYL-W1309", "a.py", 4))
    assert report["changed_files"] == ["a.py"]
    assert (code / "a.py").read_text() == UNUSED + 'print("x")\n'


def test_patches_are_stored_for_a_later_commit(marvin: Program, root: Path, atlas: Atlas, run_id: str) -> None:
    write_code(root, {"a.py": UNUSED})
    report = fix(marvin, atlas, run_id, occurrence("PYL-W0611", "a.py", 1))
    path = f"/snippets/{run_id}/{report['patches'][0]['id']}"
    stored = [each.verdict for each in atlas.runs.deliveries() if each.path == path]
    assert stored == ["stored"]


def test_a_storage_that_refuses_a_patch_is_a_failure(marvin: Program, root: Path, atlas: Atlas, run_id: str) -> None:
    write_code(root, {"a.py": UNUSED})
    flags = autofix_flags(run_id, occurrence("PYL-W0611", "a.py", 1))
    storage = ("--snippet-storage-type", "http", "--snippet-storage-bucket", f"{atlas.url}/nothing")
    ended = marvin(*flags, *storage, **atlas.publisher("autofix", run_id))
    assert ended.returncode == 1
    assert "404" in atlas.result(run_id)["status"]["hmessage"]


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (occurrence("PTC-W0014", "a.py", 3), "a.py:3: PTC-W0014 has no automatic fix here."),
        (occurrence("JS-0001", "a.py", 3), "JS-0001 is not known here, so nothing was fixed"),
        (occurrence("PYL-W0611", "a.py", 3), "a.py:3: there is no PYL-W0611; the code may have"),
        (occurrence("PYL-W0611", "gone.py", 1), "gone.py is not a Python file of this commit"),
        (occurrence("PYL-W0611", "../outside.py", 1), "../outside.py is not a Python file"),
    ],
)
def test_what_cannot_be_fixed_is_reported(
    wanted: Document, reason: str, marvin: Program, root: Path, atlas: Atlas, run_id: str
) -> None:
    write_code(root, {"a.py": "x = 1\n\nbreakpoint()\n"})
    (root / "outside.py").write_text(UNUSED)
    report = fix(marvin, atlas, run_id, wanted)
    assert len(errors(report)) == 1
    assert errors(report)[0].startswith(reason)
    assert (report["patches"], report["issues_fixed"]) == ([], [])
    assert (root / "outside.py").read_text() == UNUSED


@pytest.mark.parametrize("library", ["backports", "program", "nothing"])
def test_zstd_is_the_library_or_the_program(
    library: str, marvin: Program, root: Path, atlas: Atlas, run_id: str, tmp_path: Path
) -> None:
    if library == "program" and shutil.which("zstd") is None:
        pytest.skip("the zstd program is not installed")
    write_code(root, {"a.py": UNUSED})
    hidden = tmp_path / "hidden"
    for package in ("backports", "compression"):
        if library != "backports":
            (hidden / package).mkdir(parents=True)
            (hidden / package / "__init__.py").write_text("")
    path = {"PATH": ""} if library == "nothing" else {}
    flags = autofix_flags(run_id, occurrence("PYL-W0611", "a.py", 1))
    environment = {**atlas.publisher("autofix", run_id), "PYTHONPATH": str(hidden), **path}
    ended = marvin(*flags, *atlas.storage, **environment)
    if library == "nothing":
        assert ended.returncode == 2
        assert "zstd is needed" in ended.stderr
    else:
        assert ended.returncode == 0, ended.stderr


def test_the_transformer_result_has_the_shape_of_the_contract(
    marvin: Program, root: Path, atlas: Atlas, run_id: str
) -> None:
    code = write_code(root, {"unformatted.py": UNFORMATTED, "fine.py": "x = 1\n"})
    report = transform(marvin, atlas, run_id, "isort", "black")
    kwargs = atlas.result(run_id)
    assert set(kwargs) == {"run_id", "status", "report", "report_object"}
    assert set(report) == {"changed_files", "commit_sha", "commit_created", "errors", "patches"}
    assert report["changed_files"] == ["unformatted.py"]
    assert (report["commit_sha"], report["commit_created"], report["errors"]) == ("", False, [])
    formatted = (code / "unformatted.py").read_text()
    assert formatted == 'import os\nimport sys\n\nx = {"a": 1}\nprint(sys, os, x)\n'
    write_code(root, {"unformatted.py": UNFORMATTED})
    apply(code, report["patches"])
    assert (code / "unformatted.py").read_text() == formatted


@pytest.mark.parametrize("tool", ["black", "autopep8", "yapf"])
def test_a_formatter_leaves_imports_where_they_are(
    tool: str, marvin: Program, root: Path, atlas: Atlas, run_id: str
) -> None:
    code = write_code(root, {"unformatted.py": UNFORMATTED})
    transform(marvin, atlas, run_id, tool)
    assert (code / "unformatted.py").read_text().startswith("import sys, os\n")


def test_tools_that_are_unknown_or_switched_off_are_reported(
    marvin: Program, root: Path, atlas: Atlas, run_id: str
) -> None:
    write_code(root, {"unformatted.py": UNFORMATTED, "broken.py": "def (\n"})
    config = {"transformers": [{"name": "black", "enabled": False}]}
    report = transform(marvin, atlas, run_id, "black", "gofmt", config=config)
    assert report["patches"] == []
    assert errors(report) == [
        "broken.py is not valid Python, so it was left alone.",
        "black is switched off in the repository's settings.",
        "gofmt is not known here, so it was not run.",
    ]
