"""`/openapi.json` is valid, current and complete, and says of each request what the server says of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from functions.http.openapi.document import EXAMPLES, SERVER_STATUSES, encoded
from runner.errors import TABLE
from runner.request_types import REQUEST_TYPES
from tests.conftest import ROOT
from tests.harness.wire import Connection, head, request
from tests.security.harness.entries import ACCEPTED, load
from tests.security.harness.servers import Servers, started

DOCUMENT: dict[str, Any] = json.loads(encoded(REQUEST_TYPES.values()))
SCHEMAS = DOCUMENT["components"]["schemas"]


def validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    """Reads patterns as ECMA-262 does, so that `$` is the end and nothing before it."""
    root = {"$ref": f"#/components/schemas/{schema}", "components": {"schemas": SCHEMAS}}
    return jsonschema_rs.Draft202012Validator(root)


NAMED = json.loads(EXAMPLES.read_bytes())
VALUES = [
    pytest.param(request_type, value, id=f"{request_type}-{name}")
    for request_type, named in NAMED.items()
    for name, value in named.items()
]


def test_a_public_validator_accepts_it() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_a_public_validator_refuses_it_without_its_responses() -> None:
    broken = json.loads(json.dumps(DOCUMENT))
    del broken["components"]["responses"]["Created"]["description"]
    assert not OpenAPIV31SpecValidator(broken).is_valid()


def test_the_copy_in_docs_is_current() -> None:
    """`make openapi` writes it."""
    assert (ROOT / "docs" / "openapi.json").read_bytes() == encoded(REQUEST_TYPES.values())


def test_every_path_has_its_request_type_s_body() -> None:
    bodies = {
        path: item["post"]["requestBody"]["$ref"].rpartition("/")[2]
        for path, item in DOCUMENT["paths"].items()
        if "post" in item
    }
    assert bodies == {
        prefix + path: row.name
        for row in REQUEST_TYPES.values()
        for path in row.paths
        for prefix in ("", "/apps/{app_id}")
    }


def test_every_operation_lists_every_status() -> None:
    statuses = {str(status) for status in (200, 201, *SERVER_STATUSES, *(row.http for row in TABLE.values()))}
    for item in DOCUMENT["paths"].values():
        if "post" in item:
            assert set(item["post"]["responses"]) == statuses | {"default"}


def test_every_error_code_has_an_example_that_fits_its_schema() -> None:
    details = validator("ProblemDetails")
    seen = {}
    for response in DOCUMENT["components"]["responses"].values():
        for code, example in response["content"].get("application/problem+json", {}).get("examples", {}).items():
            details.validate(example["value"])
            seen[code] = example["value"]["status"]
    assert seen == {code: row.http for code, row in TABLE.items()}


def test_every_pattern_and_bound_of_a_payload_is_in_its_schema() -> None:
    """A string in a payload has a pattern, and a number has bounds; what is free is named here."""
    free = set()
    for name, schema in SCHEMAS.items():
        for field, value in schema.get("properties", {}).items():
            for option in (value, *value.get("anyOf", ())):
                if option.get("type") == "string" and not option.keys() & {"pattern", "allOf", "enum", "const"}:
                    free.add(f"{name}.{field}")
                if option.get("type") == "integer" and not option.keys() >= {"minimum", "maximum"}:
                    free.add(f"{name}.{field}")
    payloads = {field for field in free if field.partition(".")[0] not in ("ProblemDetails", "Problem", "JobResult")}
    assert payloads <= {"Analyzer.name", "Analyzer.runtime_version", "Transformer.name"}


@pytest.mark.parametrize(("request_type", "value"), VALUES)
def test_an_example_fits_its_schema(request_type: str, value: Any) -> None:
    validator(REQUEST_TYPES[request_type].payload.__name__).validate(value)


@pytest.mark.parametrize(
    ("schema", "field", "good", "bad"),
    [
        ("VcsMeta", "checkout_oid", ["a" * 7, "F" * 64], ["a" * 6, "a" * 65, "HEAD", "abcdef0\n"]),
        ("VcsMeta", "base_branch", ["", "a" * 255, "修正", None], ["a" * 256, "-a", "a\n", "a\u202e"]),
        ("VcsMeta", "sparse_checkout_path", ["a" * 4096, "a/..b", None], ["a" * 4097, "a/../b", "..", "/a", "-a"]),
        ("VcsMeta", "repository_name", ["a" * 1024, None], ["a" * 1025, "a\x7f"]),
        (
            "VcsMeta",
            "remote_url",
            ["https://a/b", "HTTPS://u:p@[::1]:8/b?c", "ssh://git@h/b", "git@h:b", "h:b", "file:///srv/a"],
            ["ext::sh -c id", "ftp://a/b", "https://", "https:///a", "-a@h:b", "a b", "https://h/-x", None],
        ),
        ("SshMeta", "remote_url", ["git@h:b", "ssh://h/b"], ["https://a/b"]),
        ("SshMeta", "port", [0, 65535, None], [-1, 65536, "22", 1.5]),
        ("AnalyzerMeta", "cpu_limit", ["1", "256000", 1, 256000], ["0", "256001", "1m", 0, 256001, None]),
        ("AnalyzerMeta", "name", ["a" * 128, "a/b-c"], ["a" * 129, "A", "a//b", "../a"]),
        ("DiffMetaCommit", "paths", [["-x", "a\nb"], [], None], [["/a"], ["../a"], ["a\x00"], "a", [None]]),
        ("AnalysisRun", "_meta", [None, {}, {"a": None}, {"resource_pool": "p"}], [{"resource_pool": "a/b"}, {"a": 1}]),
        ("AnalysisRun", "config", [None, {}, {"x": 1, "version": 2}], [[], "{}", {"version": "1"}]),
        ("AnalysisRun", "repo_id", [2**63 - 1, -(2**63), None], [2**63, 1.5, "1", True]),
        ("SshKeys", "private", ["a" * 131072], ["a" * 131073, "\x00"]),
        ("Artifact", "url", ["", "https://" + "a" * 8192], ["https://" + "a" * 8220, "a b", "x"]),
    ],
)
def test_a_schema_has_the_bounds_of_the_field(schema: str, field: str, good: list[Any], bad: list[Any]) -> None:
    whole = validator(schema)

    def objections(value: Any) -> list[Any]:
        return [error for error in whole.iter_errors({field: value}) if list(error.instance_path)[:1] == [field]]

    assert [value for value in good if objections(value)] == []
    assert [value for value in bad if not objections(value)] == []


# What no schema says: addresses and ports, numbers written with a point or an exponent, rules between fields. The
# longest URL is measured from its scheme on, see `schemas`.
UNSAYABLE = re.compile(
    r"the remote |the ssh remote |an artifact at |a context at |the remote twice|two checks|repo_id -?1|the port 22.0"
    r"|\w+ /checks/0/(artifacts/0|analysis_context)_?/?url of 820"
)


def test_the_schemas_agree_with_the_corpus() -> None:
    """Each request that is right fits its schema; each that has invalid fields does not, but for the above."""
    schemas = {name: validator(row.payload.__name__) for name, row in REQUEST_TYPES.items()}
    judged = 0
    for entry in load():
        if "http" not in entry.protocols or entry.wire is not None or entry.body is not None or entry.headers:
            continue
        try:
            fits = schemas[entry.request_type].is_valid(json.loads(entry.payload("r-1")))
        except (ValueError, RecursionError):  # not JSON, too deep, or a lone surrogate, which no validator reads
            continue
        judged += 1
        assert fits or entry.code != ACCEPTED, entry.name
        known = entry.pending or UNSAYABLE.match(entry.name)
        assert not fits or entry.code != "invalid" or known, entry.name
    assert judged > 1000


def test_an_empty_object_is_no_request() -> None:
    assert all(not validator(row.payload.__name__).is_valid({}) for row in REQUEST_TYPES.values())


@pytest.fixture(scope="module")
def without_amqp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with started(tmp_path_factory.mktemp("s"), amqp=False) as running:
        yield running


def test_the_server_serves_it_without_a_token_and_once_for_each_client(without_amqp: Servers) -> None:
    first = without_amqp.get("/openapi.json")
    again = without_amqp.get("/openapi.json", If_None_Match=first.headers["etag"])
    assert (first.status, first.headers["content-type"]) == (200, "application/json")
    assert first.body == encoded(REQUEST_TYPES.values())
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert without_amqp.get("/openapi.json", If_None_Match='"another"').status == 200


def test_head_has_the_headers_alone(without_amqp: Servers) -> None:
    with Connection(without_amqp.http_port) as connection:
        connection.send(head("HEAD", "/openapi.json", {"Connection": "close"}))
        connection.half_close()
        said = connection.received_so_far()
    assert said.startswith(b"HTTP/1.1 200")
    assert said.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(("request_type", "value"), VALUES)
def test_the_server_accepts_an_example(without_amqp: Servers, request_type: str, value: Any) -> None:
    path = REQUEST_TYPES[request_type].paths[0]
    with Connection(without_amqp.http_port) as connection:
        body = json.dumps(value).encode()
        answer = connection.ask(request("POST", path, body, {"Authorization": f"Bearer {without_amqp.token}"}))
    assert answer.status in (200, 201), answer.body
    validator("AcceptedJobs").validate(answer.json)
