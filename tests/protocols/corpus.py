"""Valid and invalid payloads, and the jobs or error codes with which every protocol must answer them.

A case is a JSON document, which the client of a protocol converts. `json_only` marks a case that only JSON can express.
Valid cases are sent with a new run id; `{run}` in a job's name stands for it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ANALYSIS = json.loads((EXAMPLES / "analysis.json").read_text())
AUTOFIX = json.loads((EXAMPLES / "autofix.json").read_text())
OID = "7d8dd9f8f0b1d1c7aaafda6f4adde8ca13db185c"
RUN = {"run_id": "a-run", "run_serial": "0"}
VCS = {"remote_url": "https://example.org/a/b.git", "checkout_oid": OID}
SIZES = {"version": "dev", "cpu_limit": "100", "memory_limit": "64"}
TRANSFORMER = RUN | {"vcs_meta": VCS, "transformer": {"command": "black", "tools": ["black"], "meta": SIZES}}
SSH_VERIFY = RUN | {"ssh_meta": {"remote_url": "git@example.org:a/b.git"}}
CANCEL = RUN | {"analysis_meta": {**RUN, "check_seq": "1"}}
PATCHER = RUN | {"vcs_meta": VCS}
CHECK = ANALYSIS["checks"][0]


class Case(msgspec.Struct, frozen=True):
    """A request and its answer: jobs (name, state) where it is good, else a code, and for `invalid` all bad fields."""

    name: str
    request_type: str
    document: dict[str, Any]
    jobs: tuple[tuple[str, str], ...] = ()
    code: str = ""
    fields: tuple[str, ...] = ()
    json_only: bool = False

    def __repr__(self) -> str:
        return self.name


def analysis(**fields: Any) -> dict[str, Any]:
    return ANALYSIS | fields


def check(**fields: Any) -> dict[str, Any]:
    return CHECK | fields


def analyzer(**fields: Any) -> list[dict[str, Any]]:
    return [check(analyzer_meta=CHECK["analyzer_meta"] | fields)]


def vcs(**fields: Any) -> dict[str, Any]:
    return ANALYSIS["vcs_meta"] | fields


def _good(name: str, document: dict[str, Any], *jobs: str, request_type: str = "analysis_run") -> Case:
    state = "cancelled" if request_type == "cancel_check_run" else "created"
    return Case(name, request_type, document, tuple((job, state) for job in jobs or ("analysis-s0-{run}-1",)))


def _bad(name: str, document: dict[str, Any], *fields: str, request_type: str = "analysis_run", **more: Any) -> Case:
    return Case(name, request_type, document, code=more.pop("code", "invalid"), fields=fields, **more)


GOOD = (
    _good("the sample analysis", ANALYSIS),
    _good("the sample autofix", AUTOFIX, "autofix-s0-{run}-1", request_type="autofix_run"),
    _good("a transformer", TRANSFORMER, "transformer-s0-{run}", request_type="transformer_run"),
    _good("a key to try", SSH_VERIFY, "ssh-verify-{run}", request_type="ssh_verify_run"),
    _good("a cancellation", CANCEL, "analysis-s0-{run}-1", request_type="cancel_check_run"),
    _good("a patcher", PATCHER, "patcher-s0-{run}", request_type="patcher_run"),
    _good(
        "a patcher with numbers and strings as ids",
        PATCHER | {"artifacts": {"key": "a", "patch_ids": {"a/b.py": [1, "2"], "c.py": []}}, "patch_meta": '{"a": 1}'},
        "patcher-s0-{run}",
        request_type="patcher_run",
    ),
    _good(
        "several checks",
        analysis(checks=[check(check_seq=str(number)) for number in (1, 2, 7)]),
        *(f"analysis-s0-{{run}}-{number}" for number in (1, 2, 7)),
    ),
    _good(
        "fields that nobody knows, everywhere",
        analysis(later=1, vcs_meta=vcs(later=[{}]), checks=[check(later={"a": 1})], config={"version": 1, "later": 2}),
    ),
    _good("null for lists and objects", analysis(keys=None, config=None, checks=[check(artifacts=None)])),
    _good(
        "what a cluster could misread",
        analysis(vcs_meta=vcs(base_branch="$(RESULT_HTTP_TOKEN) ${x} {{ y }} 'z' \"q\""), config={"a": "$(X)"}),
    ),
    _good(
        "a config of extremes",
        analysis(config={"version": 1, "sca_targets": [10**18, -1.5e-300, "ü\u2028", True, None], "b": {"a": [[]]}}),
    ),
    _good("a branch in another script", analysis(vcs_meta=vcs(base_branch="修正/ветка"))),
    _good("scp-like remotes", analysis(vcs_meta=vcs(remote_url="git@example.org:a/b.git"))),
    _good(
        "all that an analysis may hold",
        analysis(
            is_full_run=True, ds_config_updated=True, repo_id=2**53 + 1, previous_completed_run_commit_oid=OID,
            internal_token="x",
            keys={"ssh": {"public": "ssh-ed25519 AAAA", "private": "-----BEGIN\nx\n"}},
            vcs_meta=vcs(
                repository_name="a/b", branch_name="b", is_for_default_analysis_branch=True, clone_submodules=True,
                sparse_checkout_path="src", previous_completed_run_commit_oid=OID,
            ),
            checks=[
                check(
                    artifacts=[{"key": "a", "url": "https://example.org/x?sig=1", "metadata": {"k": "v"}}],
                    diff_meta_commits=[{"commit_oid": OID, "paths": ["a.py", "b/c.py"]}],
                    analysis_context_url="https://example.org/context",
                    analyzer_meta=CHECK["analyzer_meta"]
                    | {"cache_version": 3, "trigger": "push", "is_ai_enabled": True, "image_path": "a/b"},
                )
            ],
        ),
    ),
)  # fmt: skip

BAD = (
    _bad("nothing", {}, "checks", "run_id", "run_serial", "vcs_meta"),
    _bad("a cancellation of nothing", {}, "run_id", "analysis_meta", request_type="cancel_check_run"),
    _bad("no checks", analysis(checks=[]), "checks"),
    _bad(
        "two checks of one number",
        analysis(checks=[CHECK, CHECK]),
        "checks[1].check_seq",
    ),
    _bad("257 checks", analysis(checks=[check(check_seq=str(number)) for number in range(257)]), "checks"),
    _bad(
        "bad fields all over",
        analysis(run_id="../x", run_serial="one", vcs_meta=vcs(checkout_oid="HEAD"), checks=analyzer(cpu_limit="1m")),
        "run_id", "run_serial", "vcs_meta.checkout_oid", "checks[0].analyzer_meta.cpu_limit",
    ),
    *(
        _bad(f"the id {bad!r}", analysis(run_id=bad), "run_id")
        for bad in ("a\n", "-a", "a/b", "x" * 65, "١٢", "a\u202eb", "a\x00b")
    ),
    *(
        _bad(f"the serial {bad!r}", analysis(run_serial=bad), "run_serial")
        for bad in ("-1", "1e3", "٣", "1\n", "9" * 21)
    ),
    *(
        _bad(f"{field} {bad!r}", analysis(checks=analyzer(**{field: bad})), f"checks[0].analyzer_meta.{field}")
        for field, values in {
            "cpu_limit": ("2400m", "-1", "1e99", "0", "256001"),
            "memory_limit": ("1Gi", "3", "1048577", "६४"),
            "name": ("../../x", "UPPER", "a//b", "x" * 129),
            "version": ("", "a b", "-a", "x" * 129),
        }.items()
        for bad in values
    ),
    *(
        _bad(f"the remote {bad}", analysis(vcs_meta=vcs(remote_url=bad)), "vcs_meta.remote_url")
        for bad in (
            "ext::sh -c id", "file:///etc", "-oProxyCommand=x", "ssh://-x@host/a", "ftp://example.org/a",
            "http://169.254.169.254/latest", "http://0xa9fea9fe/x", "https://metadata.google.internal/x", "https://",
        )
    ),
    _bad("a key against https", SSH_VERIFY | {"ssh_meta": {"remote_url": "https://e.org/a"}}, "ssh_meta.remote_url",
         request_type="ssh_verify_run"),
    _bad("a port that is none", SSH_VERIFY | {"ssh_meta": {"remote_url": "git@e.org:a", "port": 65536}},
         "ssh_meta.port", request_type="ssh_verify_run"),
    _bad("a negative port", SSH_VERIFY | {"ssh_meta": {"remote_url": "git@e.org:a", "port": -1}},
         "ssh_meta.port", request_type="ssh_verify_run"),
    _bad("a path upwards", analysis(vcs_meta=vcs(sparse_checkout_path="a/../..")), "vcs_meta.sparse_checkout_path"),
    _bad("a pool with a slash", analysis(_meta={"resource_pool": "a/b"}), "meta.resource_pool"),
    _bad("a config that is a list", analysis(config=[]), "config"),
    _bad("a config of text", analysis(config="{"), "config"),
    _bad("a config with wrong types", analysis(config={"version": "1", "analyzers": {}}),
         "config.version", "config.analyzers"),
    _bad("a config nested too deeply", analysis(config={"a": json.loads("[" * 64 + "]" * 64)}), code="malformed"),
    _bad("a config that no argument holds", analysis(config={"exclude_patterns": ["x" * 200_000]}), code="too_large"),
    _bad("checks that are no list", analysis(checks={"a": 1}), "checks", json_only=True),
    _bad("a number for an id", analysis(run_id=17), "run_id", json_only=True),
    _bad("text for a flag", analysis(is_full_run="yes"), "is_full_run", json_only=True),
    _bad("an integer of 400 digits", analysis(repo_id=10**400), "repo_id", json_only=True),
)  # fmt: skip
