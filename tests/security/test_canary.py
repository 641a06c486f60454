"""No secret of a request or of the configuration is anywhere but with its job: real runs, and a search for markers."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.config.types import Config
from runner.payloads.fields import _SECRET
from runner.request_types import REQUEST_TYPES
from tests.cluster import Cluster
from tests.security.canary import fields, pairs
from tests.security.canary.runs import findings
from tests.security.canary.search import Finder
from tests.unit import documents


@pytest.mark.parametrize("name", REQUEST_TYPES)
def test_every_text_of_a_request_is_known_as_secret_or_as_public(name: str) -> None:
    found = set(fields.text_fields(REQUEST_TYPES[name].payload))
    assert found
    assert found <= fields.SECRET_FIELDS | fields.PUBLIC_FIELDS, "a new field: is it a secret? Put it into its table"


def test_the_payloads_hide_the_same_fields() -> None:
    assert set(_SECRET) == fields.SECRET_FIELDS
    assert not fields.SECRET_FIELDS & fields.PUBLIC_FIELDS


def test_every_text_of_the_configuration_that_sounds_like_a_secret_is_known_as_one_or_as_public() -> None:
    assert set(fields.settings_that_sound_secret(Config)) == fields.SECRET_SETTINGS | fields.PUBLIC_SETTINGS


@pytest.mark.parametrize("name", REQUEST_TYPES)
def test_every_secret_field_of_a_request_gets_a_marker(name: str) -> None:
    markers = fields.Markers()
    sent = fields.document(markers, name, "r-1", "success", "local")
    wanted = set(fields.text_fields(REQUEST_TYPES[name].payload)) & fields.SECRET_FIELDS
    marked = {place.partition(" ")[0].rpartition("/")[2] for place in markers.places.values()}
    assert marked == wanted
    documents.read(name, sent)  # it is valid


def test_the_runs_have_every_pair_and_are_few() -> None:
    runs = pairs.pairwise()
    assert 24 <= len(runs) <= 32
    assert {pair for each in pairs.everything() for pair in pairs._pairs(each)} == {
        pair for each in runs for pair in pairs._pairs(each)
    }


def test_a_marker_is_found_as_it_is_and_in_base64() -> None:
    markers = fields.Markers()
    finder = Finder({markers.make("field"): "field"})
    (marker,) = markers.places
    for text in (marker, fields.base64.b64encode(f"a{marker}b".encode()).decode()):
        assert finder.contained(f"x {text} y") == {"field"}


@pytest.mark.timeout(900)
def test_no_marker_is_found_outside_of_the_jobs(real_servers: Cluster, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for above in tmp_path.parents[:2]:  # the jobs of Nomad run as another user
        above.chmod(0o755)
    found = findings(real_servers, tmp_path, pairs.pairwise())
    print(found.table())
    assert {kind: each for kind, each in found.found.items() if each} == {}
    assert found.without_id == []
    assert all(found.read.values()), "a place was not searched"
    assert len(found.read) >= 20
    # What proves that something was searched for: the jobs' own processes had these. A short one may be missed.
    assert len({place.split("/")[0] for place in found.own}) >= 4
