"""runner.payloads.addresses: every URL of every request is checked, and none can be forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args

import msgspec
import pytest
from msgspec import Meta

from runner.errors import Invalid
from runner.payloads import RequestPolicy, addresses
from runner.payloads.fields import Payload, RemoteUrl, Url
from runner.request_types import REQUEST_TYPES
from tests.unit.documents import put, read, whole

METADATA = ["http://169.254.169.254/latest", "https://[2002:a9fe:a9fe::]/x", "ssh://git@metadata.azure.com/x"]
PLACES = [(name, place) for name, row in REQUEST_TYPES.items() for place in addresses.fields(row.payload)]


def named(kind: Any, at: str = "") -> Iterator[str]:
    """The places of all fields of a type whose name has `url` or `uri`, found by name and not by type."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            place = f"{at}/{field.encode_name}"
            if {"url", "uri"} & set(field.name.split("_")):
                yield place
            else:
                yield from named(field.type, place)
    else:
        several = getattr(kind, "__origin__", None) in (tuple, dict)
        for each in get_args(kind):
            yield from named(each, f"{at}/*" if several else at)


@pytest.mark.parametrize("name", REQUEST_TYPES)
def test_a_field_that_is_called_a_url_is_checked_as_one(name: str) -> None:
    kind = REQUEST_TYPES[name].payload
    assert set(named(kind)) == set(addresses.fields(kind))


def test_these_are_all() -> None:
    assert {place for _, place in PLACES} == {
        "/vcs_meta/remote_url",
        "/ssh_meta/remote_url",
        "/checks/*/artifacts/*/url",
        "/checks/*/analysis_context_url",
    }


@pytest.mark.parametrize(("name", "place"), PLACES)
@pytest.mark.parametrize("url", [*METADATA, "file:///etc/passwd", "ftp://a/b"])
def test_a_bad_url_is_invalid_at_its_place(name: str, place: str, url: str) -> None:
    place = place.replace("*", "0")
    document = put(whole(name), place, url)
    with pytest.raises(Invalid) as caught:
        read(name, document)
    assert [problem.pointer for problem in caught.value.problems] == [place]

    if url.startswith("file:") and name != "ssh_verify_run":
        assert read(name, document, RequestPolicy(runner_id="r", public_key="", allow_file_remotes=True))


class Inner(Payload, frozen=True):
    """A part that somebody adds."""

    url: Url = ""
    other: str = ""


class Grown(Payload, frozen=True):
    """A request with URLs wherever one can stand."""

    plain: Url = ""
    clone: RemoteUrl | None = None
    many: Annotated[tuple[Url, ...], Meta(max_length=9)] = ()
    mapped: dict[str, Url] = {}
    parts: dict[str, tuple[Inner, ...]] = {}
    maybe: Annotated[Inner | None, Meta(description="a part")] = None
    renamed: Url = msgspec.field(default="", name="_renamed")
    nothing: tuple[dict[str, int], ...] = ()


def test_a_url_that_is_added_anywhere_is_found() -> None:
    assert set(addresses.fields(Grown)) == {
        *("/plain", "/clone", "/many/*", "/mapped/*", "/parts/*/*/url", "/maybe/url", "/_renamed"),
    }
    bad = METADATA[0]
    grown = Grown(
        plain=bad,
        clone=bad,
        many=("", "https://a/b", bad),
        mapped={"a/b": bad},
        parts={"x": (Inner(), Inner(url=bad))},
        maybe=Inner(url=bad),
        renamed=bad,
    )
    assert {problem.pointer for problem in addresses.problems(grown, allow_file=False)} == {
        *("/plain", "/clone", "/many/2", "/mapped/a~1b", "/parts/x/1/url", "/maybe/url", "/_renamed"),
    }
    assert not [*addresses.problems(Grown(), allow_file=False)]
