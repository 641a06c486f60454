"""The six requests as JSON documents, with every field of the wire contract, and functions to change them in tests.

A place in a document is a JSON pointer (RFC 6901), as in the project's errors.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from runner.payloads import RequestPolicy, decode
from runner.request_types import REQUEST_TYPES

OPEN = RequestPolicy(runner_id="runner-1", public_key="")
"""A RequestPolicy that accepts every valid request."""

_CONFIG = {
    "version": 1,
    "exclude_patterns": ["vendor/**"],
    "test_patterns": ["test_*.py"],
    "analyzers": [
        {
            "name": "python",
            "enabled": True,
            "runtime_version": "3.x.x",
            "dependency_file_paths": ["requirements.txt"],
            "meta": {"max_line_length": 100},
            "thresholds": {"critical": 0},
        }
    ],
    "sca_targets": [{"path": "requirements.txt"}],
    "transformers": [{"name": "black", "enabled": True}],
}
_KEYS = {"ssh": {"public": "ssh-ed25519 AAAA runner", "private": "-----BEGIN KEY-----\nprivate\n-----END KEY-----\n"}}
_AUTOFIX_VCS = {
    "remote_url": "https://user:clone-token@git.example/team/code.git",
    "base_branch": "main",
    "checkout_oid": "7d8dd9f8f0b1d1c7aaafda6f4adde8ca13db185c",
    "clone_submodules": True,
    "sparse_checkout_path": "services/api",
}
_VCS = {**_AUTOFIX_VCS, "base_oid": "5cd7c55b65720b5251d85e53dfb1dd7c6fb6561e"}

_WHOLE: dict[str, dict[str, Any]] = {
    "analysis_run": {
        "run_id": "r-1",
        "run_serial": "7",
        "config": _CONFIG,
        "ds_config_updated": True,
        "is_full_run": True,
        "vcs_meta": {
            **_VCS,
            "repository_name": "team/code",
            "is_for_default_analysis_branch": True,
            "previous_completed_run_commit_oid": "aaaaaaa",
            "branch_name": "feature",
        },
        "keys": _KEYS,
        "checks": [
            {
                "check_seq": "3",
                "artifacts": [
                    {
                        "key": "coverage/report.xml",
                        "url": "https://storage.example/report.xml?X-Amz-Signature=signed",
                        "metadata": {"reporter": "python"},
                    }
                ],
                "analyzer_meta": {
                    "name": "python",
                    "image_path": "python",
                    "analyzer_type": "core",
                    "command": "/app/marvin-python",
                    "version": "2.1",
                    "cpu_limit": "2400",
                    "memory_limit": "6501",
                    "cache_version": 4,
                    "trigger": "push",
                    "is_ai_enabled": True,
                },
                "processors": ["source_code_load", "skip_cq"],
                "diff_meta_commits": [{"commit_oid": "bbbbbbb", "paths": ["src/a.py", "src/b.py"]}],
                "analysis_context_url": "https://storage.example/context?sig=signed",
            }
        ],
        "_meta": {"resource_pool": "plan-pf"},
        "repo_id": 42,
        "previous_completed_run_commit_oid": "ccccccc",
        "internal_token": "internal-secret",
    },
    "autofix_run": {
        "run_id": "r-1",
        "run_serial": "7",
        "config": _CONFIG,
        "vcs_meta": _AUTOFIX_VCS,
        "keys": _KEYS,
        "autofixer": {
            "autofix_meta": {
                "name": "python",
                "command": "/app/autofix.sh",
                "version": "2.1",
                "cpu_limit": "2400",
                "memory_limit": "6501",
                "cache_version": 4,
            },
            "autofixes": [
                {
                    "issue_code": "PTC-W0014",
                    "occurrences": [
                        {
                            "path": "src/a.py",
                            "position": {"begin": {"line": 56, "column": 4}, "end": {"line": 57, "column": 9}},
                        }
                    ],
                }
            ],
        },
        "_meta": {"resource_pool": "plan-pf"},
    },
    "transformer_run": {
        "run_id": "r-1",
        "run_serial": "7",
        "config": _CONFIG,
        "vcs_meta": _VCS,
        "keys": _KEYS,
        "transformer": {
            "command": "/app/bumblebee",
            "tools": ["black", "isort"],
            "meta": {"version": "2.1", "cpu_limit": "2400", "memory_limit": "6501"},
        },
        "ds_config_updated": True,
        "patch_commit": {
            "commit": {"title": "style: format", "message": "With black.\n\nAnd isort.", "destination_branch": "main"},
            "author": {"name": "Format Bot", "email": "bot@example.com"},
        },
        "_meta": {"resource_pool": "plan-pf"},
    },
    "ssh_verify_run": {
        "run_id": "r-1",
        "keys": _KEYS,
        "ssh_meta": {"user": "git", "port": 2222, "remote_url": "ssh://git.example/team/code.git"},
    },
    "cancel_check_run": {
        "analysis_meta": {"run_id": "r-1", "run_serial": "7", "check_seq": "3"},
        "run_id": "c-1",
        "run_serial": "2",
    },
    "patcher_run": {
        "run_id": "r-1",
        "run_serial": "7",
        "keys": _KEYS,
        "vcs_meta": _VCS,
        "artifacts": {"key": "patches/r-1", "patch_ids": {"src/a.py": [1, 2], "src/b.py": ["p-3"]}},
        "patch_meta": '{"title": "fix: apply patches"}',
    },
}


def whole(request_type: str) -> dict[str, Any]:
    """A new document with every field of the contract, none of them a zero value."""
    return copy.deepcopy(_WHOLE[request_type])


def places(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Every place below `value`, with its value, parents first."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        pointer = f"{at}/{str(name).replace('~', '~0').replace('/', '~1')}"
        yield pointer, member
        yield from places(member, pointer)


def value_at(document: Any, pointer: str) -> Any:
    """The value at a place."""
    for name in _steps(pointer):
        document = document[int(name) if isinstance(document, list) else name]
    return document


def put(document: Any, pointer: str, value: Any) -> Any:
    """Set the value at a place. Gives the same document."""
    parent, last = _parent(document, pointer)
    parent[last] = value
    return document


def drop(document: Any, pointer: str) -> Any:
    """Remove the value at a place. Gives the same document."""
    parent, last = _parent(document, pointer)
    del parent[last]
    return document


def _parent(document: Any, pointer: str) -> tuple[Any, Any]:
    above, _, _ = pointer.rpartition("/")
    parent = value_at(document, above)
    last = _steps(pointer)[-1]
    return parent, int(last) if isinstance(parent, list) else last


def _steps(pointer: str) -> list[str]:
    return [name.replace("~1", "/").replace("~0", "~") for name in pointer.split("/")[1:]]


def read(request_type: str, document: Any, policy: RequestPolicy = OPEN) -> Any:
    """The request, decoded and checked as a request from atlas is."""
    return decode(json.dumps(document).encode(), REQUEST_TYPES[request_type].payload, policy)


def changed(request_type: str, pointer: str, value: Any) -> Any:
    """The request with every field, and another value at one place."""
    document = whole(request_type)
    put(document, pointer, value)
    return read(request_type, document)
