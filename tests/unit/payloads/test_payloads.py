"""runner.payloads: what atlas sends, every field of the wire contract within its bounds."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.commands import plan
from runner.config.types import Config
from runner.errors import Invalid, Malformed, OrchestratorError, TooLarge
from runner.jobs import JobSpec
from runner.payloads import MAX_BODY, RequestPolicy, decode, unchecked
from runner.payloads.analysis_run import AnalysisRun
from runner.request_types import REQUEST_TYPES, by_spelling
from tests.unit.documents import OPEN, changed, drop, places, put, read, value_at, whole

REQUIRED = {
    "analysis_run": {
        "/run_id", "/run_serial", "/vcs_meta", "/vcs_meta/remote_url", "/vcs_meta/checkout_oid", "/checks",
        "/checks/0/check_seq", "/checks/0/analyzer_meta", "/checks/0/analyzer_meta/name",
        "/checks/0/analyzer_meta/version", "/checks/0/analyzer_meta/cpu_limit",
        "/checks/0/analyzer_meta/memory_limit", "/checks/0/diff_meta_commits/0/commit_oid",
    },
    "autofix_run": {
        "/run_id", "/run_serial", "/vcs_meta", "/vcs_meta/remote_url", "/vcs_meta/checkout_oid", "/autofixer",
        "/autofixer/autofix_meta", "/autofixer/autofix_meta/name", "/autofixer/autofix_meta/version",
        "/autofixer/autofix_meta/cpu_limit", "/autofixer/autofix_meta/memory_limit",
    },
    "transformer_run": {
        "/run_id", "/run_serial", "/vcs_meta", "/vcs_meta/remote_url", "/vcs_meta/checkout_oid", "/transformer",
        "/transformer/meta", "/transformer/meta/version", "/transformer/meta/cpu_limit",
        "/transformer/meta/memory_limit",
    },
    "ssh_verify_run": {"/run_id", "/ssh_meta", "/ssh_meta/remote_url"},
    "cancel_check_run": {
        "/run_id", "/analysis_meta", "/analysis_meta/run_id", "/analysis_meta/run_serial", "/analysis_meta/check_seq",
    },
    "patcher_run": {"/run_id", "/run_serial", "/vcs_meta", "/vcs_meta/remote_url", "/vcs_meta/checkout_oid"},
}  # fmt: skip
"""Fields without which there is no job to name, no image to start or no code to clone; all others have a zero value."""


def problems(request_type: str, document: Any, policy: RequestPolicy = OPEN) -> dict[str, str]:
    """What is wrong, by place."""
    with pytest.raises(Invalid) as caught:
        read(request_type, document, policy)
    return {problem.pointer: problem.message for problem in caught.value.problems}


def members(document: Any) -> list[str]:
    """The places of a document's own fields: not list items, not the keys of maps, nothing within `config`."""
    return [
        place
        for place, _ in places(document)
        if not place.startswith(("/config/", "/_meta/", "/artifacts/patch_ids/"))
        and "/metadata/" not in place
        and not place.rpartition("/")[2].isdigit()
    ]


class TestFields:
    def test_there_are_the_six_types_of_the_contract_and_atlas_own_spelling_of_one(self) -> None:
        assert set(REQUEST_TYPES) == set(REQUIRED)
        others = {spelling: row.name for spelling, row in by_spelling().items() if spelling != row.name}
        assert others == {"transforer_run": "transformer_run"}

    def test_every_field_of_the_contract_is_read(self, request_type: str) -> None:
        document = whole(request_type)
        request = read(request_type, document)
        seen = _plain(request)
        for place, value in places(document):
            if not isinstance(value, dict | list):
                assert value_at(seen, place) == value, place

    def test_what_is_missing_has_its_zero_value_or_is_required(self, request_type: str) -> None:
        for place in members(whole(request_type)):
            document = whole(request_type)
            zero = _zero(value_at(document, place))
            drop(document, place)
            if place in REQUIRED[request_type]:
                assert problems(request_type, document) == {place: "is required"}
            elif not isinstance(zero, dict) or place in ("/_meta", "/config") or "metadata" in place:
                seen = _plain(read(request_type, document))
                assert value_at(seen, place) == zero, place
            else:
                read(request_type, document)

    def test_null_is_missing(self, request_type: str) -> None:
        for place in members(whole(request_type)):
            without, with_null = whole(request_type), whole(request_type)
            drop(without, place)
            put(with_null, place, None)
            if place in REQUIRED[request_type]:
                assert problems(request_type, with_null) == {place: "is required"}
            else:
                assert _plain(read(request_type, with_null)) == _plain(read(request_type, without)), place

    def test_unknown_fields_are_accepted_everywhere(self, request_type: str) -> None:
        document = whole(request_type)
        expected = _plain(read(request_type, document))
        for place in ["", *(place for place, value in places(whole(request_type)) if isinstance(value, dict))]:
            if not place.startswith(("/config", "/_meta", "/artifacts/patch_ids")) and "/metadata" not in place:
                put(document, f"{place}/x_new_field", {"of": ["atlas", None, 1.5]})
        assert _plain(read(request_type, document)) == expected

    def test_the_real_samples_are_taken(self, sample: Callable[[str], dict[str, Any]]) -> None:
        assert read("analysis_run", sample("analysis")).checks[0].analyzer_meta.name == "python"
        assert read("autofix_run", sample("autofix")).autofixer.autofixes[0].issue_code == "PTC-W0014"

    def test_a_limit_may_be_the_number_itself(self) -> None:
        assert (
            changed("analysis_run", "/checks/0/analyzer_meta/cpu_limit", 2400).checks[0].analyzer_meta.cpu_limit == 2400
        )


def _plain(value: Any) -> Any:
    """What was read, with all its fields: encoded, it would have no defaults."""
    if isinstance(value, msgspec.Struct):
        fields = zip(value.__struct_encode_fields__, msgspec.structs.astuple(value), strict=True)
        return {name: _plain(field) for name, field in fields}
    if isinstance(value, tuple):
        return [_plain(element) for element in value]
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    return json.loads(bytes(value)) if isinstance(value, msgspec.Raw) else value


def _zero(value: Any) -> Any:
    return {str: "", int: 0, bool: False, list: [], dict: {}}[type(value)]


ID = ("a", "0", "A-b_c.d", "x" * 64), (
    "", "x" * 65, "-a", ".a", "_a", "a b", "a/b", "a:b", "a\n", "\na", "a\0", "ａ", "é", "a\u202eb", "\ufeffa", 5, True,
    [], {}, 1.5,
)  # fmt: skip
SERIAL = ("0", "007", "9" * 20), ("", "9" * 21, "-1", "+1", "1.0", "1e3", "0x1", " 1", "1\n", "٣", "１", "²", 1, None)
OPTIONAL_SERIAL = ("", *SERIAL[0]), tuple(bad for bad in SERIAL[1] if bad not in ("", None))
OID = (
    ("a" * 7, "0123456789abcdefABCDEF", "f" * 64),
    ("", "a" * 6, "a" * 65, "g" * 7, "a" * 7 + "\n", "HEAD", "ａ" * 7, 5),
)
OPTIONAL_OID = ("", *OID[0]), OID[1][1:]
LINE = ("", "x" * 1024, "é", "$(X) ${X} {{ }} \"' -x"), (
    "x" * 1025, "a\nb", "a\n", "a\r", "a\tb", "\0", "\x1b[0m", "\x7f", "\x85", "\u2028", "\u2029", "\u200f", "\u202e",
    "\u2066", "\ufeff", 5, [],
)  # fmt: skip
BRANCH = ("", "main", "feature/ü-$(X)", "x" * 255), ("x" * 256, "-x", "--upload-pack=x", "a\n", "a\0", "\u202e", 5)
PATH = ("", "a", "a/b", "..a", "a../b", "a/..b", "x" * 4096), (
    "/", "/a", "..", "../a", "a/..", "a/../b", "-a", "a\n", "a\0", "\u202e", "x" * 4097, "a/b/..", 5,
)  # fmt: skip
REPOSITORY_PATH = (*PATH[0], "-a", "--x", "a\n/b", "\u202e"), (
    "/", "/a", "..", "../a", "a/..", "a/../b", "a\n/../b", "a\n/..", "a\0", "x" * 4097, 5,
)  # fmt: skip
URL = ("", "https://a/b?c=d", "s3://bucket/key", "https://a/" + "x" * 8000), (
    "a", "//a", "https:/a", "https://", "https://a b", "https://a\n", "-x://a", "https://" + "x" * 8193, 5,
)  # fmt: skip
TEXT = ("", "a\nb\t\x1b", "x" * 131072), ("x" * 131073, "a\0b", 5)
FLAG = (True, False), (0, 1, "true", "", [])
NUMBER = (0, -1, 2**63 - 1, -(2**63)), (2**63, -(2**63) - 1, 10**400, 1.5, "1", True)
IMAGE = ("python", "a", "team/python", "a.b_c__d---e/f", "x" * 128), (
    "", "..", "../..", "a/../b", ".a", "a.", "a..b", "a/", "/a", "a//b", "A", "a___b", "a:b", "a@b", "a b", "a\n",
    "x" * 129, "é", "a.-b", 5,
)  # fmt: skip
TAG = ("dev", "_", "1.2-3_x", "X" * 128), ("", ".a", "-a", "a/b", "a:b", "a\n", "x" * 129, "é", 5)
CPU = ("1", "9", "2400", "99999", "100000", "199999", "200000", "249999", "255999", "256000", 1, 256000), (
    "", "0", "256001", "260000", "300000", "1000000", "2400m", "-1", "+1", "1.5", "1e3", "1e99", "01", "٢", " 1", "1\n",
    0, -1, 256001, 1.5, 1e99, 10**40, True, [], {},
)  # fmt: skip
MEMORY = ("4", "9", "10", "999999", "1000000", "1039999", "1040000", "1047999", "1048000", "1048499", "1048569",
          "1048570", "1048576", 4, 1048576), (
    "", "0", "3", "1048577", "1048580", "1048600", "1049000", "1050000", "1100000", "2000000", "10000000", "512Mi",
    "-4", "04", "4.0", "1e5", "٤٤", "4\n", 3, 1048577, 4.5, 1e99, True, [], {},
)  # fmt: skip
LOGIN = ("", "git", "_svc", "a.b-c", "x" * 64), ("-oProxyCommand=x", "a b", "a@b", "x" * 65, "a\n", "$(x)", "é", 5)
PORT = (0, 1, 22, 65535), (-1, 65536, "22", 1.5, True, 10**40)
POOL = ("plan-pf", "A.b_c", "x" * 63), ("x" * 64, "-a", ".a", "a b", "a/b", "a\n", "é")
REMOTE = ("https://git.example/a.git", "git@git.example:a.git"), ("", "-x", "a b", "x" * 4097, "https://a/\n", 5)

CHECK = "/checks/0"
BOUNDS: list[tuple[str, str, tuple[tuple[Any, ...], tuple[Any, ...]]]] = [
    ("analysis_run", "/run_id", ID),
    ("analysis_run", "/run_serial", SERIAL),
    ("analysis_run", "/ds_config_updated", FLAG),
    ("analysis_run", "/is_full_run", FLAG),
    ("analysis_run", "/repo_id", NUMBER),
    ("analysis_run", "/previous_completed_run_commit_oid", OPTIONAL_OID),
    ("analysis_run", "/internal_token", TEXT),
    ("analysis_run", "/_meta/resource_pool", POOL),
    ("analysis_run", "/_meta/anything", LINE),
    ("analysis_run", "/keys/ssh/public", TEXT),
    ("analysis_run", "/keys/ssh/private", TEXT),
    ("analysis_run", "/vcs_meta/remote_url", REMOTE),
    ("analysis_run", "/vcs_meta/base_branch", BRANCH),
    ("analysis_run", "/vcs_meta/branch_name", BRANCH),
    ("analysis_run", "/vcs_meta/base_oid", OPTIONAL_OID),
    ("analysis_run", "/vcs_meta/checkout_oid", OID),
    ("analysis_run", "/vcs_meta/repository_name", LINE),
    ("analysis_run", "/vcs_meta/is_for_default_analysis_branch", FLAG),
    ("analysis_run", "/vcs_meta/clone_submodules", FLAG),
    ("analysis_run", "/vcs_meta/sparse_checkout_path", PATH),
    ("analysis_run", "/vcs_meta/previous_completed_run_commit_oid", OPTIONAL_OID),
    ("analysis_run", f"{CHECK}/check_seq", SERIAL),
    ("analysis_run", f"{CHECK}/processors/0", LINE),
    ("analysis_run", f"{CHECK}/analysis_context_url", URL),
    ("analysis_run", f"{CHECK}/artifacts/0/key", PATH),
    ("analysis_run", f"{CHECK}/artifacts/0/url", URL),
    ("analysis_run", f"{CHECK}/artifacts/0/metadata/reporter", LINE),
    ("analysis_run", f"{CHECK}/diff_meta_commits/0/commit_oid", OID),
    ("analysis_run", f"{CHECK}/diff_meta_commits/0/paths/0", REPOSITORY_PATH),
    ("analysis_run", f"{CHECK}/analyzer_meta/name", IMAGE),
    ("analysis_run", f"{CHECK}/analyzer_meta/version", TAG),
    ("analysis_run", f"{CHECK}/analyzer_meta/cpu_limit", CPU),
    ("analysis_run", f"{CHECK}/analyzer_meta/memory_limit", MEMORY),
    ("analysis_run", f"{CHECK}/analyzer_meta/image_path", LINE),
    ("analysis_run", f"{CHECK}/analyzer_meta/analyzer_type", LINE),
    ("analysis_run", f"{CHECK}/analyzer_meta/command", LINE),
    ("analysis_run", f"{CHECK}/analyzer_meta/trigger", LINE),
    ("analysis_run", f"{CHECK}/analyzer_meta/cache_version", NUMBER),
    ("analysis_run", f"{CHECK}/analyzer_meta/is_ai_enabled", FLAG),
    ("autofix_run", "/run_id", ID),
    ("autofix_run", "/run_serial", SERIAL),
    ("autofix_run", "/autofixer/autofix_meta/name", IMAGE),
    ("autofix_run", "/autofixer/autofix_meta/version", TAG),
    ("autofix_run", "/autofixer/autofix_meta/command", LINE),
    ("autofix_run", "/autofixer/autofix_meta/cpu_limit", CPU),
    ("autofix_run", "/autofixer/autofix_meta/memory_limit", MEMORY),
    ("autofix_run", "/autofixer/autofix_meta/cache_version", NUMBER),
    ("autofix_run", "/autofixer/autofixes/0/issue_code", LINE),
    ("autofix_run", "/autofixer/autofixes/0/occurrences/0/path", REPOSITORY_PATH),
    ("autofix_run", "/autofixer/autofixes/0/occurrences/0/position/begin/line", NUMBER),
    ("autofix_run", "/autofixer/autofixes/0/occurrences/0/position/end/column", NUMBER),
    ("transformer_run", "/run_id", ID),
    ("transformer_run", "/run_serial", SERIAL),
    ("transformer_run", "/ds_config_updated", FLAG),
    ("transformer_run", "/transformer/command", LINE),
    ("transformer_run", "/transformer/tools/0", LINE),
    ("transformer_run", "/transformer/meta/version", TAG),
    ("transformer_run", "/transformer/meta/cpu_limit", CPU),
    ("transformer_run", "/transformer/meta/memory_limit", MEMORY),
    ("transformer_run", "/patch_commit/commit/title", LINE),
    ("transformer_run", "/patch_commit/commit/message", TEXT),
    ("transformer_run", "/patch_commit/commit/destination_branch", BRANCH),
    ("transformer_run", "/patch_commit/author/name", LINE),
    ("transformer_run", "/patch_commit/author/email", LINE),
    ("ssh_verify_run", "/run_id", ID),
    ("ssh_verify_run", "/ssh_meta/user", LOGIN),
    ("ssh_verify_run", "/ssh_meta/port", PORT),
    ("ssh_verify_run", "/keys/ssh/private", TEXT),
    ("cancel_check_run", "/run_id", ID),
    ("cancel_check_run", "/run_serial", OPTIONAL_SERIAL),
    ("cancel_check_run", "/analysis_meta/run_id", ID),
    ("cancel_check_run", "/analysis_meta/run_serial", SERIAL),
    ("cancel_check_run", "/analysis_meta/check_seq", SERIAL),
    ("patcher_run", "/run_id", ID),
    ("patcher_run", "/run_serial", SERIAL),
    ("patcher_run", "/vcs_meta/checkout_oid", OID),
    ("patcher_run", "/artifacts/key", LINE),
    ("patcher_run", "/artifacts/patch_ids/src~1a.py/0", ((1, "p", -5), (2**63, 1.5, True, [], {}))),
    ("patcher_run", "/patch_meta", (("", "x" * 200_000, "a\nb"), ("a\0b", 5, {}))),
]


class TestBounds:
    @pytest.mark.parametrize(("kind", "place", "values"), BOUNDS, ids=[f"{kind}{place}" for kind, place, _ in BOUNDS])
    def test_every_bound_holds_on_both_sides_of_its_edge(
        self, kind: str, place: str, values: tuple[tuple[Any, ...], tuple[Any, ...]]
    ) -> None:
        (good, bad) = values
        for value in good:
            assert value_at(_plain(changed(kind, place, value)), place) == value
        for value in bad:
            assert list(problems(kind, put(whole(kind), place, value))) == [place], repr(value)[:80]

    def test_every_text_and_number_of_the_contract_is_in_the_table(self) -> None:
        bounded = {_any_item(place) for _, place, _ in BOUNDS} | {"/ssh_meta/remote_url"}  # see test_remotes
        for kind in REQUEST_TYPES:
            for place, value in places(whole(kind)):
                if not isinstance(value, dict | list) and not place.startswith("/config/"):
                    assert _any_item(place) in bounded, (kind, place)

    @pytest.mark.parametrize("count", [1, 2, 256])
    def test_one_to_256_checks_are_taken(self, count: int) -> None:
        assert len(read("analysis_run", _with_checks(count)).checks) == count

    @pytest.mark.parametrize("count", [0, 257, 10_000])
    def test_no_checks_or_too_many_are_refused(self, count: int) -> None:
        assert problems("analysis_run", _with_checks(count)) == {"/checks": "must be a list of 1 to 256 checks"}

    def test_two_checks_of_one_number_would_be_one_job(self) -> None:
        document = put(_with_checks(4), "/checks/3/check_seq", "1")
        assert problems("analysis_run", document) == {"/checks/3/check_seq": "must differ from that of /checks/1"}

    def test_an_empty_resource_pool_is_none(self) -> None:
        assert changed("analysis_run", "/_meta/resource_pool", "").meta == {"resource_pool": ""}

    def test_a_body_of_4_mib_is_taken_and_not_one_byte_more(self) -> None:
        body = json.dumps(whole("analysis_run")).encode().ljust(4 * 1024 * 1024)
        assert len(body) == MAX_BODY
        assert decode(body, AnalysisRun, OPEN).run_id == "r-1"
        with pytest.raises(TooLarge, match="4194305 bytes"):
            decode(body + b" ", AnalysisRun, OPEN)


def _any_item(place: str) -> str:
    """A place with all items of a list, all files and both ends of a span taken for one."""
    place = re.sub(r"/patch_ids/[^/]+", "/patch_ids/*", re.sub(r"/[0-9]+", "/0", place))
    return re.sub(r"/(?:begin|end)/(?:line|column)", "/*", place)


def _with_checks(count: int) -> Any:
    meta = {"name": "python", "version": "1", "cpu_limit": "1000", "memory_limit": "1000"}
    checks = [{"check_seq": str(number), "analyzer_meta": meta} for number in range(count)]
    return {**whole("analysis_run"), "checks": checks}


class TestProblems:
    def test_all_bad_fields_are_reported_at_once_types_and_rules_together(self) -> None:
        document = whole("analysis_run")
        document["checks"].append(
            {**copy.deepcopy(document["checks"][0]), "analyzer_meta": {"name": "../..", "cpu_limit": "2400m"}}
        )
        for place, value in {
            "/run_id": "a b",
            "/run_serial": 7,
            "/vcs_meta/remote_url": "ext::sh -c true",
            "/vcs_meta/checkout_oid": "HEAD",
            "/checks/0/artifacts/0/url": "not a url",
            "/checks/0/diff_meta_commits/0/paths": "src",
            "/_meta/resource_pool": "-x",
            "/config/analyzers/0/name": 5,
            "/config/version": "1",
            "/keys": [],
        }.items():
            put(document, place, value)
        assert set(problems("analysis_run", document)) == {
            "/run_id",
            "/run_serial",
            "/vcs_meta/remote_url",
            "/vcs_meta/checkout_oid",
            "/checks/0/artifacts/0/url",
            "/checks/0/diff_meta_commits/0/paths",
            "/checks/1/check_seq",
            "/checks/1/analyzer_meta/name",
            "/checks/1/analyzer_meta/version",
            "/checks/1/analyzer_meta/cpu_limit",
            "/checks/1/analyzer_meta/memory_limit",
            "/_meta/resource_pool",
            "/config/analyzers/0/name",
            "/config/version",
            "/keys",
        }

    @pytest.mark.parametrize("place", ["/vcs_meta/remote_url", "/ssh_meta/remote_url"])
    def test_a_remote_is_checked_in_every_type_that_has_one(self, place: str) -> None:
        for kind in REQUEST_TYPES:
            document = whole(kind)
            if place.split("/")[1] in document:
                assert list(problems(kind, put(document, place, "ftp://a/b"))) == [place]

    def test_file_remotes_are_accepted_where_the_policy_allows_them(self) -> None:
        document = put(whole("analysis_run"), "/vcs_meta/remote_url", "file:///srv/code.git")
        assert "file" in problems("analysis_run", document)["/vcs_meta/remote_url"]
        policy = RequestPolicy(runner_id="r", public_key="", allow_file_remotes=True)
        assert read("analysis_run", document, policy).vcs_meta.remote_url == "file:///srv/code.git"

    def test_ssh_verify_wants_an_ssh_remote(self) -> None:
        document = put(whole("ssh_verify_run"), "/ssh_meta/remote_url", "https://git.example/a.git")
        assert "ssh" in problems("ssh_verify_run", document)["/ssh_meta/remote_url"]

    @pytest.mark.parametrize("body", [b"null", b"[]", b"5", b'"{}"'])
    def test_a_body_that_is_no_object_is_invalid_as_a_whole(self, body: bytes) -> None:
        with pytest.raises(Invalid) as caught:
            decode(body, AnalysisRun, OPEN)
        assert [(problem.pointer, problem.message) for problem in caught.value.problems] == [("", "must be an object")]


CONFIGS = [
    '{"a": 1.10, "b": 1e300, "c": -0, "d": -0.0, "e": 1E+2, "f": 12345678901234567.8901234567890123}',
    '{"n": [18446744073709551615, -9223372036854775808, 1e-999], "s": "99999999999999999999 1e999"}',
    '{"version": 1, "version": 2, "x": null, "y": {"z": null}, "empty": {}, "list": [null, [], {}]}',
    '{"analyzers": [{"name": "python", "meta": {"deep": [1e99, null, 1.0]}, "thresholds": 1e-400, "new": "field"}]}',
    '{"analyzers": null, "sca_targets": [1e9, "x", null], "exclude_patterns": null, "x": {"k\\u0000": "\\u0000"}}',
    '{"emoji": "\\ud83d\\ude00 é \u2028 \\/ \\" $(HOME) ${HOME} {{ x }}", "spaces": "  a  b  "}',
    "{}",
]


class TestMaps:
    def test_null_in_a_map_of_strings_is_absent(self) -> None:
        assert changed("analysis_run", "/_meta", {"a": None, "b": "c"}).meta == {"b": "c"}
        check = changed("analysis_run", "/checks/0/artifacts/0/metadata", {"a": None, "b": "c"}).checks[0]
        assert check.artifacts[0].metadata == {"b": "c"}
        assert changed("patcher_run", "/artifacts/patch_ids", {"a": None, "b": [1]}).artifacts.patch_ids == {"b": (1,)}

    def test_a_wrong_value_beside_it_is_still_named(self) -> None:
        document = put(whole("analysis_run"), "/_meta", {"a": None, "b": 5})
        assert list(problems("analysis_run", document)) == ["/_meta/b"]


class TestLoneSurrogates:
    """A file name that is not UTF-8, as Python and others write it in JSON."""

    def test_one_in_a_path_becomes_a_replacement_character_and_refuses_nothing(self) -> None:
        place = "/checks/0/diff_meta_commits/0/paths"
        check = changed("analysis_run", place, ["caf\udce9.py", "\ud83d.py", "\U0001f600.py"]).checks[0]
        assert check.diff_meta_commits[0].paths == ("caf\ufffd.py", "\ufffd.py", "\U0001f600.py")

    @pytest.mark.parametrize("request_type", REQUEST_TYPES)
    def test_in_a_key_in_config_and_in_unknown_fields_too(self, request_type: str) -> None:
        document = {**whole(request_type), "_meta": {"\udfff": "\ud800"}, "x": ["\udc00"]}
        assert read(request_type, document).meta == {"\ufffd": "\ufffd"}
        if "config" in document:
            assert b"\\ufffd" in bytes(changed(request_type, "/config", {"\ud800": "\udc00\ud800"}).config)


class TestConfig:
    """The repository's settings reach the analyzer byte for byte in meaning."""

    @pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config[:24])
    @pytest.mark.parametrize("kind", ["analysis_run", "autofix_run", "transformer_run"])
    def test_config_reaches_the_plan_as_it_was_sent(self, kind: str, config: str) -> None:
        assert _exactly(_config_argument(kind, config)) == _exactly(config)

    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**63), 2**64 - 1)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        )
    )
    def test_so_does_whatever_stands_in_fields_that_nobody_knows(self, value: Any) -> None:
        config = json.dumps(
            {"x": value, "analyzers": [{"name": "a", "meta": value, "x": value}], "sca_targets": [value]}
        )
        assert _exactly(_config_argument("analysis_run", config)) == _exactly(config)

    @pytest.mark.parametrize("kind", ["analysis_run", "autofix_run", "transformer_run"])
    def test_no_config_and_null_are_the_empty_object(self, kind: str) -> None:
        document = whole(kind)
        assert _config_argument(kind, "null") == "{}"
        drop(document, "/config")
        assert _argument(read(kind, document)) == "{}"

    @pytest.mark.parametrize(
        ("config", "place"),
        [
            ("[]", "/config"),
            ("5", "/config"),
            ('{"version": "1"}', "/config/version"),
            ('{"version": 1.5}', "/config/version"),
            ('{"analyzers": {}}', "/config/analyzers"),
            ('{"analyzers": [{"name": "a"}, {"enabled": "yes"}]}', "/config/analyzers/1/enabled"),
            ('{"exclude_patterns": [1]}', "/config/exclude_patterns/0"),
            ('{"transformers": [{"name": {}}]}', "/config/transformers/0/name"),
        ],
    )
    def test_what_is_known_of_config_is_checked(self, config: str, place: str) -> None:
        assert list(problems("analysis_run", put(whole("analysis_run"), "/config", json.loads(config)))) == [place]

    @pytest.mark.parametrize("number", [str(2**64), str(-(2**63) - 1), "9" * 400, "9" * 5000, "1e400", "-1E+0400"])
    @pytest.mark.parametrize(
        ("config", "place"),
        [
            ('{"version": N}', "/config/version"),
            ('{"x~/": [1, N]}', "/config/x~0~1/1"),
            ('{"x": N, "x": 1}', "/config/x"),
            ('{"analyzers": [{"meta": {"a": N}, "thresholds": N}]}', "/config/analyzers/0/meta/a"),
            ('{"sca_targets": [[N]]}', "/config/sca_targets/0/0"),
        ],
    )
    def test_a_number_that_does_not_fit_64_bits_is_refused_where_it_stands(
        self, config: str, place: str, number: str
    ) -> None:
        with pytest.raises(Invalid) as refused:
            _config_argument("analysis_run", config.replace("N", number))
        assert place in {problem.pointer for problem in refused.value.problems}
        assert len(refused.value.detail) < 300

    def test_config_counts_into_the_nesting_of_the_body(self) -> None:
        read("analysis_run", put(whole("analysis_run"), "/config", {"x": _nested(62)}))
        with pytest.raises(Malformed, match="64 levels"):
            read("analysis_run", put(whole("analysis_run"), "/config", {"x": _nested(63)}))


def _nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def _config_argument(kind: str, config: str) -> str:
    marked = json.dumps({**whole(kind), "config": "@"})
    return _argument(decode(marked.replace('"@"', config).encode(), REQUEST_TYPES[kind].payload, OPEN))


def _argument(request: Any) -> str:
    """As the analyzer gets it, the way to the sidecar included."""
    there = unchecked.decoder(type(request)).decode(unchecked.encode(request))
    (job,) = plan(there, Config())
    assert isinstance(job, JobSpec)
    text = job.main.args[job.main.args.index("--config") + 1]
    assert isinstance(text, str)
    return text


def _exactly(text: str) -> Any:
    """The value with every number as its own characters, and every key in its place."""
    return json.loads(text, parse_float=str, parse_int=str, object_pairs_hook=list)


TRAPS = [
    b'{"run_id": "a\\u0000"}',
    b'{"run_id": "a\\n"}',
    b'{"run_id": "\\ud800"}',
    b'{"run_id": "\xff"}',
    b'{"run_id": NaN}',
    b'{"run_id": -Infinity}',
    b'{"repo_id": ' + b"1" * 400 + b"}",
    b'{"repo_id": ' + b"1" * 100_000 + b"}",
    b'{"repo_id": 1e400}',
    b'{"config": "\\ud800"}',
    b'{"config": {"a": "\\udfff"}}',
    b"[" * 100_000,
    b'{"run_id":' * 100_000,
    b'{"checks": [' + b"{}," * 10_000 + b"{}]}",
    b"",
    b"\x00",
    b"\xef\xbb\xbf{}",
    b"\xfe\xff\x00{\x00}",
]


class TestNothingElseEscapes:
    @pytest.mark.parametrize("body", TRAPS, ids=lambda body: repr(body[:24]))
    def test_known_traps(self, request_type: str, body: bytes) -> None:
        with pytest.raises(OrchestratorError):
            decode(body, REQUEST_TYPES[request_type].payload, OPEN)

    @given(kind=st.sampled_from(sorted(REQUEST_TYPES)), body=st.binary(max_size=300))
    def test_random_bytes(self, kind: str, body: bytes) -> None:
        _read_and_plan(kind, body)

    @given(
        kind=st.sampled_from(sorted(REQUEST_TYPES)),
        at=st.floats(0, 1, exclude_max=True),
        length=st.integers(0, 40),
        patch=st.binary(max_size=40),
    )
    def test_good_bodies_with_some_bytes_changed(self, kind: str, at: float, length: int, patch: bytes) -> None:
        body = json.dumps(whole(kind)).encode()
        begin = int(at * len(body))
        _read_and_plan(kind, body[:begin] + patch + body[begin + length :])

    @given(
        kind=st.sampled_from(sorted(REQUEST_TYPES)),
        at=st.floats(0, 1, exclude_max=True),
        value=st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.text()
            | st.sampled_from(["-1", "$(X)", "..", "\0"]),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=5,
        ),
    )
    def test_good_bodies_with_one_value_replaced_by_any_json(self, kind: str, at: float, value: Any) -> None:
        document = whole(kind)
        every = [place for place, _ in places(document)]
        put(document, every[int(at * len(every))], value)
        _read_and_plan(kind, json.dumps(document).encode())


def _read_and_plan(kind: str, body: bytes) -> None:
    """Reads; and what can be read can be planned."""
    try:
        plan(decode(body, REQUEST_TYPES[kind].payload, OPEN), Config())
    except OrchestratorError:
        return


SECRET = "hunter2secret"
SECRET_PLACES = [
    ("analysis_run", "/vcs_meta/remote_url", f"https://user:{SECRET}@git.example/a.git"),
    ("analysis_run", "/vcs_meta/remote_url", f"ext::{SECRET}"),
    ("analysis_run", "/vcs_meta/remote_url", f"https://{SECRET}@169.254.169.254/a"),
    ("analysis_run", "/vcs_meta/remote_url", f"https://user:{SECRET} @git.example/a.git"),
    ("analysis_run", "/keys/ssh/private", f"-----BEGIN KEY-----\n{SECRET}\n"),
    ("analysis_run", "/keys/ssh/private", f"{SECRET}\0"),
    ("analysis_run", "/keys/ssh/private", [SECRET]),
    ("analysis_run", "/internal_token", SECRET),
    ("analysis_run", "/internal_token", {SECRET: SECRET}),
    ("analysis_run", "/checks/0/artifacts/0/url", f"https://a/b?X-Amz-Signature={SECRET}"),
    ("analysis_run", "/checks/0/artifacts/0/url", f"no url {SECRET}"),
    ("analysis_run", "/checks/0/analysis_context_url", f"https://a/b?sig={SECRET}"),
    ("autofix_run", "/vcs_meta/remote_url", f"https://user:{SECRET}@git.example/a.git"),
    ("ssh_verify_run", "/ssh_meta/remote_url", f"ssh://user:{SECRET}@git.example/a.git"),
    ("ssh_verify_run", "/ssh_meta/remote_url", f"https://user:{SECRET}@git.example/a.git"),
    ("ssh_verify_run", "/keys/ssh/private", SECRET),
    ("patcher_run", "/keys/ssh/private", SECRET),
]


class TestSecrets:
    @pytest.mark.parametrize(("kind", "place", "value"), SECRET_PLACES)
    def test_no_error_and_no_repr_shows_a_secret(self, kind: str, place: str, value: Any) -> None:
        for spoilt in (False, True):
            document = put(whole(kind), place, value)
            if spoilt:  # another field is wrong as well, so that the document is walked
                put(document, "/run_id", "a b")
            try:
                shown = repr(read(kind, document))
            except OrchestratorError as error:
                shown = f"{error!r} {error.detail} {error.problems} {error.__cause__!r}"
            assert SECRET not in shown

    def test_a_repr_shows_the_rest(self) -> None:
        shown = repr(read("analysis_run", whole("analysis_run")))
        assert "run_id='r-1'" in shown
        assert "remote_url=***" in shown
        assert "name='python'" in shown
