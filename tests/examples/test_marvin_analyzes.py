"""`marvin --analyze`: real issues, in exactly the shape of the wire contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from examples.marvin.marvin.rules import RULES
from tests.examples.conftest import Atlas, Program, Repository
from tests.examples.marvin_flags import UNUSED, analyze_flags, write_code

WITH_ISSUES = """\
import os


def load(path, cache={}):
    try:
        value = eval(path)
    except:
        value = None
    return value == None
"""

UNUSED_ISSUE = {
    "issue_code": "PYL-W0611",
    "issue_text": "`os` imported but unused",
    "location": {
        "path": "a.py",
        "position": {
            "begin": {"line": 1, "column": 8},
            "end": {"line": 1, "column": 10},
        },
    },
    "meta": {
        "rule": "F401",
        "url": "https://docs.astral.sh/ruff/rules/unused-import",
        "fix": "safe",
    },
}
"""The issue of `UNUSED`, without its identifier."""


def analyze(
    marvin: Program, atlas: Atlas, run_id: str, config: dict[str, Any] | None = None, **toml: Any
) -> dict[str, Any]:
    """The report that atlas has accepted."""
    flags = (*analyze_flags(run_id, config, **toml), *atlas.storage)
    ended = marvin(*flags, **atlas.publisher("analysis", run_id))
    assert ended.returncode == 0, ended.stderr
    report: dict[str, Any] = atlas.result(run_id)["report"]
    return report


def locations(report: dict[str, Any]) -> list[tuple[str, str, int]]:
    located = ((issue["issue_code"], issue["location"]) for issue in report["issues"])
    return [(code, place["path"], place["position"]["begin"]["line"]) for code, place in located]


def test_the_result_has_the_shape_of_the_contract(marvin: Program, root: Path, atlas: Atlas, run_id: str) -> None:
    write_code(root, {"a.py": UNUSED})
    report = analyze(marvin, atlas, run_id)
    identifier = report["issues"][0].pop("identifier")
    assert atlas.result(run_id) == {
        "run_id": run_id,
        "status": {"code": 0, "hmessage": "The analysis is done.", "err": ""},
        "check_seq": "1",
        "analyzer_shortcode": "python",
        "report": {
            "issues": [UNUSED_ISSUE],
            "metrics": [
                {"metric_code": "LOC", "value": 2},
                {"metric_code": "FILES", "value": 1},
            ],
            "is_passed": False,
            "errors": [],
            "file_meta": {
                "if_all": True,
                "deleted": [],
                "renamed": [],
                "modified": [],
                "added": [],
            },
            "extra_data": {},
        },
        "report_object": "",
    }
    assert len(identifier) == 32


def test_issues_are_found_where_they_are(marvin: Program, root: Path, atlas: Atlas, run_id: str) -> None:
    write_code(root, {"app/issues.py": WITH_ISSUES, "fine.py": "x = 1\n", "notes.txt": "import os"})
    report = analyze(marvin, atlas, run_id)
    assert locations(report) == [
        ("PYL-W0611", "app/issues.py", 1),
        ("PYL-W0102", "app/issues.py", 4),
        ("BAN-B307", "app/issues.py", 6),
        ("FLK-E722", "app/issues.py", 7),
        ("FLK-E711", "app/issues.py", 9),
    ]


def test_clean_code_passes(marvin: Program, root: Path, atlas: Atlas, run_id: str) -> None:
    write_code(root, {"a.py": "print(1)\n"})
    report = analyze(marvin, atlas, run_id)
    assert (report["is_passed"], report["issues"]) == (True, [])


def test_ruff_knows_every_rule_of_the_table(marvin: Program, root: Path, atlas: Atlas, run_id: str) -> None:
    assert len(set(RULES.values())) == len(RULES)
    write_code(root, {"a.py": ""})
    assert analyze(marvin, atlas, run_id)["errors"] == []


def test_an_identifier_stays_the_same_when_the_code_around_it_changes(
    marvin: Program, root: Path, atlas: Atlas, run_id: str
) -> None:
    write_code(root, {"a.py": UNUSED})
    before = analyze(marvin, atlas, run_id)["issues"]
    write_code(root, {"a.py": f'"""A docstring."""\n\n{UNUSED}'})
    after = analyze(marvin, atlas, f"{run_id}-2")["issues"]
    assert before[0]["identifier"] == after[0]["identifier"]
    assert before[0]["location"] != after[0]["location"]


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("tests/**", ["a.py", "lib/tests/c.py", "lib/x_pb2.py"]),
        ("**/tests/**", ["a.py", "lib/x_pb2.py"]),
        ("*_pb2.py", ["a.py", "lib/tests/c.py", "tests/b.py"]),
        ("lib/", ["a.py", "tests/b.py"]),
        ("lib/*.py", ["a.py", "lib/tests/c.py", "tests/b.py"]),
        ("?.py", ["lib/x_pb2.py"]),
        ("(.py", ["a.py", "lib/tests/c.py", "lib/x_pb2.py", "tests/b.py"]),
    ],
)
def test_excluded_files_are_not_analyzed(
    pattern: str, left: list[str], marvin: Program, root: Path, atlas: Atlas, run_id: str
) -> None:
    names = ("a.py", "tests/b.py", "lib/tests/c.py", "lib/x_pb2.py")
    write_code(root, dict.fromkeys(names, UNUSED))
    report = analyze(marvin, atlas, run_id, {"exclude_patterns": [pattern]})
    assert sorted(path for _, path, _ in locations(report)) == left


def test_an_analyzer_that_is_switched_off_finds_nothing_and_reports_that(
    marvin: Program, root: Path, atlas: Atlas, run_id: str
) -> None:
    write_code(root, {"a.py": UNUSED})
    config = {"analyzers": [{"name": "python", "enabled": False}]}
    report = analyze(marvin, atlas, run_id, config)
    assert report["issues"] == []
    assert "switched off" in report["errors"][0]["hmessage"]


def test_only_the_files_of_a_change_are_analyzed(marvin: Program, root: Path, atlas: Atlas, run_id: str) -> None:
    write_code(root, {"a.py": UNUSED, "b.py": UNUSED})
    commits = [{"commitOID": "c0ffee0", "paths": ["b.py", "gone.py"]}]
    report = analyze(marvin, atlas, run_id, diffMetaCommits=commits)
    assert [path for _, path, _ in locations(report)] == ["b.py"]
    assert report["file_meta"]["if_all"] is False
    full = analyze(marvin, atlas, f"{run_id}-2", diffMetaCommits=commits, is_full_run=True)
    assert [path for _, path, _ in locations(full)] == ["a.py", "b.py"]


def test_the_changes_between_the_commits_are_reported(marvin: Program, root: Path, atlas: Atlas, run_id: str) -> None:
    repository = Repository(root / "code")
    long = "".join(f"x{number} = {number}\n" for number in range(20))
    base = repository.commit(a_dot_py="1\n", b_dot_py="2\n", c_dot_py=long)
    repository.git("mv", "c.py", "renamed file.py")
    repository.git("rm", "--quiet", "b.py")
    checkout = repository.commit(a_dot_py="3\n", new_dot_py="4\n")
    report = analyze(marvin, atlas, run_id, baseOID=base, checkoutOID=checkout)
    assert report["file_meta"] == {
        "if_all": True,
        "added": ["new.py"],
        "deleted": ["b.py"],
        "modified": ["a.py"],
        "renamed": ["renamed file.py"],
    }


def test_processors_load_sources_and_skip_marked_issues(marvin: Program, root: Path, atlas: Atlas, run_id: str) -> None:
    lines = [
        "import os  # skipcq",
        "import re  # skipcq: PYL-W0611, BAN-B307",
        "import sys  # skipcq: BAN-B307",
        "# skipcq: PYL-W0611",
        "import json",
        "import abc",
    ]
    write_code(root, {"a.py": "\n".join([*lines, ""])})
    processors = ["source_code_load", "skip_cq", "unknown"]
    report = analyze(marvin, atlas, run_id, processors=processors)
    assert [issue["meta"]["source"] for issue in report["issues"]] == [lines[2], lines[5]]
    assert "'unknown' is not known" in report["errors"][0]["hmessage"]
    assert len(analyze(marvin, atlas, f"{run_id}-2")["issues"]) == 5


def test_broken_code_is_an_issue_and_an_unreadable_file_an_error(
    marvin: Program, root: Path, atlas: Atlas, run_id: str
) -> None:
    write_code(root, {"a.py": "def (\n", "b.py": UNUSED})
    (root / "code/c.py").write_bytes(b"x = '\xff'\n")
    report = analyze(marvin, atlas, run_id)
    assert {code for code, _, _ in locations(report)} == {"PYL-E0001", "PYL-W0611"}
    assert [error["hmessage"][:5] for error in report["errors"]] == ["c.py:"]


def test_files_with_unusual_names_are_analyzed_and_links_are_not_followed(
    marvin: Program, root: Path, atlas: Atlas, run_id: str
) -> None:
    names = ["--fix.py", "@list.py", "a b.py", "é.py"]
    code = write_code(root, dict.fromkeys(names, UNUSED))
    outside = root / "outside.py"
    outside.write_text(UNUSED)
    (code / "link.py").symlink_to(outside)
    (code / "directory").symlink_to(root)
    report = analyze(marvin, atlas, run_id)
    assert sorted(path for _, path, _ in locations(report)) == sorted(names)


def test_the_linter_settings_of_the_repository_are_ignored(
    marvin: Program, root: Path, atlas: Atlas, run_id: str
) -> None:
    ignoring = '[lint.per-file-ignores]\n"*" = ["F401"]\n'
    write_code(root, {"a.py": UNUSED, "ruff.toml": ignoring, ".gitignore": "a.py\n"})
    assert len(analyze(marvin, atlas, run_id)["issues"]) == 1


def test_newer_syntax_is_an_issue_only_for_an_older_python(
    marvin: Program, root: Path, atlas: Atlas, run_id: str
) -> None:
    write_code(root, {"a.py": "type A = int\n"})
    python = {"name": "python", "enabled": True, "meta": {"runtime_version": "3.x.x"}}
    assert analyze(marvin, atlas, run_id, {"analyzers": [python]})["is_passed"]
    old = {**python, "runtime_version": "3.8"}
    assert not analyze(marvin, atlas, f"{run_id}-2", {"analyzers": [old]})["is_passed"]


def test_more_files_than_one_call_of_ruff_gets(marvin: Program, root: Path, atlas: Atlas, run_id: str) -> None:
    write_code(root, {f"m{number:04}.py": UNUSED for number in range(1001)})
    assert len(analyze(marvin, atlas, run_id)["issues"]) == 1001
