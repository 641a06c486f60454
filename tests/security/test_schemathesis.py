"""An independent program makes requests from `/openapi.json`, and holds every answer against it.

What fits the schema is accepted; what does not fit it is refused; each answer has the status, headers, media type and
schema that the document says. The examples are the same in every run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from runner.request_types import REQUEST_TYPES
from tests.security.harness.servers import Servers, started
from tests.security.test_openapi import DOCUMENT


def _without_large_values(value: Any, *, fitting: bool) -> Any:
    """The document with a few URLs in place of their patterns, and with small bounds; without bounds for bad values.

    Which addresses are refused is in no schema. Large values take minutes to make; they and null in maps are in the
    corpus.
    """
    if isinstance(value, list):
        return [_without_large_values(each, fitting=fitting) for each in value]
    if not isinstance(value, dict):
        return value
    changed = {name: _without_large_values(each, fitting=fitting) for name, each in value.items()}
    if changed.get("type") == "array":
        changed.setdefault("maxItems", math.inf)
    for name, bound in (("maxLength", 64), ("maxItems", 2)):
        if isinstance(changed.get(name), int | float) and changed[name] > bound:
            if fitting:
                changed[name] = bound
            else:
                del changed[name]
    if fitting and (options := _options(changed.get("additionalProperties"))):
        changed["additionalProperties"] = {"anyOf": [each for each in options if each != {"type": "null"}]}
    for name in URLS & changed.get("properties", {}).keys():
        changed["properties"][name] = {"enum": ["ssh://git@example.org/a.git", "ssh://git@example.org:22/b"]}
    return changed


def _options(schema: Any) -> list[Any]:
    return schema.get("anyOf", []) if isinstance(schema, dict) else []


URLS = {"remote_url", "url", "analysis_context_url"}
FITTING = schemathesis.openapi.from_dict(_without_large_values(DOCUMENT, fitting=True))
SCHEMA = schemathesis.openapi.from_dict(_without_large_values(DOCUMENT, fitting=False))
PATHS = [row.paths[0] for row in REQUEST_TYPES.values()]
ALWAYS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
FIXED = settings(
    max_examples=10,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def _as_decoded(value: Any) -> Any:
    """`1.0` as `1`, which JSON Schema takes for an integer as well; and no integer over 64 bits.

    Where any JSON is allowed, the schema has no bound for numbers.
    """
    if isinstance(value, list):
        return [_as_decoded(each) for each in value]
    if isinstance(value, dict):
        return {name: _as_decoded(each) for name, each in value.items()}
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return 0 if isinstance(value, int) and abs(value) >= 2**63 else value


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with started(tmp_path_factory.mktemp("s"), amqp=False) as running:
        yield running


def send(servers: Servers, operation: Any, mode: GenerationMode, *checks: Any) -> int:
    """Send ten requests. Returns how many had an answer that is no error."""
    accepted = 0

    @FIXED
    @given(case=operation.as_strategy(mode))
    def each(case: Any) -> None:
        nonlocal accepted
        case.body = _as_decoded(case.body)
        answer = case.call_and_validate(
            base_url=f"http://127.0.0.1:{servers.http_port}",
            headers={"Authorization": f"Bearer {servers.token}"},
            checks=(*ALWAYS, *checks),
            timeout=15,
        )
        accepted += answer.status_code < 300

    each()
    return accepted


@pytest.mark.parametrize("path", PATHS)
def test_a_request_that_fits_its_schema_is_accepted(servers: Servers, path: str) -> None:
    assert send(servers, FITTING[path]["POST"], GenerationMode.POSITIVE, positive_data_acceptance) > 0


@pytest.mark.parametrize("path", PATHS)
def test_a_request_that_does_not_fit_its_schema_is_refused(servers: Servers, path: str) -> None:
    send(servers, SCHEMA[path]["POST"], GenerationMode.NEGATIVE, negative_data_rejection)
    assert servers.get("/readyz").status == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/openapi.json"])
def test_the_server_s_own_answers_are_as_documented(servers: Servers, path: str) -> None:
    assert send(servers, SCHEMA[path]["GET"], GenerationMode.POSITIVE) > 0
