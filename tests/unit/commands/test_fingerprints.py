"""runner.commands.fingerprints: a repeat of a task is known again, and any other task is not."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.commands import plan
from runner.commands.fingerprints import fingerprint
from runner.config.types import Config
from runner.errors import OrchestratorError
from runner.jobs import JobSpec
from runner.payloads import decode
from runner.payloads.analysis_run import Artifact
from runner.request_types import REQUEST_TYPES
from tests.unit.documents import OPEN, places, put, read, whole

RUNS = sorted(set(REQUEST_TYPES) - {"cancel_check_run"})

MAY_DIFFER = {
    "/keys/ssh/public", "/keys/ssh/private", "/internal_token",
    "/checks/0/artifacts/0/url", "/checks/0/analysis_context_url",  # as far as they are signed; see below
    "/_meta/resource_pool",
}  # fmt: skip
"""What may differ between two sendings of one task."""


def fingerprints(kind: str, document: Any) -> list[str]:
    made = plan(read(kind, document), Config())
    assert all(isinstance(job, JobSpec) for job in made)
    return [job.fingerprint for job in made if isinstance(job, JobSpec)]


def other_values(value: Any) -> list[Any]:
    """Values unlike this one, at least one of which is taken in its place."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1]
    if isinstance(value, list):
        return [[*value, value[-1]], value[:-1]]
    if isinstance(value, dict):
        return [{**value, "x": "y"}, {}]
    return [other for other in (f"{value}1", f"{value[:-1]}1", f"{value[:-1]}2") if other != value]


@pytest.mark.parametrize("kind", RUNS)
def test_any_other_task_has_another_fingerprint(kind: str) -> None:
    original = fingerprints(kind, whole(kind))
    for place, value in places(whole(kind)):
        if place in MAY_DIFFER or isinstance(value, dict) or place == "/checks":
            continue
        seen = set()
        for other in other_values(value):
            try:
                seen.add(*fingerprints(kind, put(whole(kind), place, other)))
            except OrchestratorError:
                continue
        assert seen, f"no other value is taken at {place}"
        assert not seen & set(original), place


@pytest.mark.parametrize("kind", RUNS)
@given(key=st.text(), public=st.text(), token=st.text())
def test_keys_and_internal_tokens_do_not_count(kind: str, key: str, public: str, token: str) -> None:
    ssh = {"private": key.replace("\0", ""), "public": public.replace("\0", "")}
    document = {**whole(kind), "keys": {"ssh": ssh}, "internal_token": token.replace("\0", "")}
    document = json.loads(json.dumps(document).encode("utf-8", "surrogatepass"))
    assert fingerprints(kind, document) == fingerprints(kind, whole(kind))


@pytest.mark.parametrize("kind", sorted(set(RUNS) - {"ssh_verify_run"}))
@pytest.mark.parametrize(
    "url",
    [
        "https://git.example/team/code.git",
        "https://other@git.example/team/code.git",
        "https://user:an@other:token@git.example/team/code.git",
        "https://user:clone-token@GIT.example/team/code.git?token=x#y",
    ],
)
def test_credentials_in_the_clone_url_do_not_count(kind: str, url: str) -> None:
    assert fingerprints(kind, put(whole(kind), "/vcs_meta/remote_url", url)) == fingerprints(kind, whole(kind))


@pytest.mark.parametrize(
    "url",
    [
        "http://user:clone-token@git.example/team/code.git",
        "https://user:clone-token@git.example:8443/team/code.git",
        "https://user:clone-token@git.other/team/code.git",
        "https://user:clone-token@git.example/team/Code.git",
        "ssh://user:clone-token@git.example/team/code.git",
        "user@git.example:team/code.git",
    ],
)
def test_scheme_host_port_and_path_of_the_clone_url_do(url: str) -> None:
    for kind in sorted(set(RUNS) - {"ssh_verify_run"}):
        assert fingerprints(kind, put(whole(kind), "/vcs_meta/remote_url", url)) != fingerprints(kind, whole(kind))


@pytest.mark.parametrize("place", ["/checks/0/artifacts/0/url", "/checks/0/analysis_context_url"])
def test_of_a_signed_url_neither_signature_nor_credentials_count(place: str) -> None:
    def of(url: str) -> list[str]:
        return fingerprints("analysis_run", put(whole("analysis_run"), place, url))

    assert of("https://s/a?X-Amz-Signature=1") == of("https://s/a?X-Amz-Signature=2") == of("https://user:pw@s/a")
    assert of("s3://bucket/a?sig=1") == of("s3://bucket/a?sig=2")
    assert of("https://s/a") != of("https://s/b")
    assert of("s3://bucket/a") != of("s3://bucket/b")


@pytest.mark.parametrize("kind", RUNS)
def test_of_meta_nothing_counts(kind: str) -> None:
    def of(**meta: str) -> list[str]:
        return fingerprints(kind, {**whole(kind), "_meta": {"resource_pool": "a", **meta}})

    assert of() == of(trace_id="1") == of(trace_id="2", sent_at="now") == of(resource_pool="b")
    assert of() == fingerprints(kind, {**whole(kind), "_meta": {}})


@pytest.mark.parametrize("kind", ["analysis_run", "autofix_run", "transformer_run"])
def test_white_space_in_config_does_not_count_and_everything_else_does(kind: str) -> None:
    def of(config: str) -> str:
        body = json.dumps({**whole(kind), "config": "@"}).replace('"@"', config).encode()
        (job,) = plan(decode(body, REQUEST_TYPES[kind].payload, OPEN), Config())
        assert isinstance(job, JobSpec)
        return job.fingerprint

    assert of('{"a":[1,2],"b":"c d"}') == of('\n{ "a" : [ 1 ,\t2 ] , "b" : "c d" }')
    assert of("{}") == of("null")
    different = ['{"a":1}', '{"a":1.0}', '{"a":10e-1}', '{"a":"1"}', '{"a":2}', '{"b":1}', '{"a":1,"b":1}', "{}"]
    assert len({of(config) for config in different}) == len(different)


def test_a_check_keeps_its_fingerprint_whatever_stands_beside_it() -> None:
    document = whole("analysis_run")
    (alone,) = fingerprints("analysis_run", document)
    document["checks"].insert(0, {**whole("analysis_run")["checks"][0], "check_seq": "2", "processors": ["other"]})
    (other, same) = fingerprints("analysis_run", document)
    assert same == alone
    assert other != alone


def test_two_types_of_task_never_share_one() -> None:
    assert len({*(fingerprints(kind, whole(kind))[0] for kind in RUNS)}) == len(RUNS)


@pytest.mark.parametrize("kind", RUNS)
def test_a_field_that_atlas_adds_does_not_count(kind: str) -> None:
    assert fingerprints(kind, {**whole(kind), "x_new_field": 1}) == fingerprints(kind, whole(kind))


@pytest.mark.parametrize("kind", RUNS)
def test_a_field_that_we_add_does_not_count_until_it_is_sent(kind: str) -> None:
    payload = REQUEST_TYPES[kind].payload
    fields = [("x_text", str, ""), ("x_many", tuple[str, ...], ()), ("x_part", Artifact, Artifact()), ("x", int, 0)]
    longer = msgspec.defstruct(payload.__name__, fields, bases=(payload,), frozen=True, kw_only=True)

    def of(type_: type[Any], **more: Any) -> str:
        return fingerprint(kind, msgspec.json.decode(json.dumps({**whole(kind), **more}), type=type_)).text

    assert of(longer) == of(longer, x_text="", x_many=[], x=0) == of(payload)
    others = [of(longer, x_text="a"), of(longer, x_many=[""]), of(longer, x_part={"key": "a"}), of(longer, x=1)]
    assert len({of(payload), *others}) == 5


PINNED = {
    "analysis_run": "2:29b933b8b20a7f1633983fe100fb0815",
    "autofix_run": "2:c743d908648a3323af3da7b46a7da6f8",
    "transformer_run": "2:d1899695df0337ce1eee795bea2cf569",
    "patcher_run": "2:b6b7529cad0df715d75b6505c5cf9e8a",
    "ssh_verify_run": "2:45d59219871991bb715561afec6e89e7",
}


RELEASE_0_1 = {
    "analysis_run": "51ffc62fb45d36543bea1a5d963032da",
    "autofix_run": "c875a24a4f021c81c2ff12a90be4318e",
    "transformer_run": "aecb6b1120f38fa9d335be84e3df5e76",
    "patcher_run": "346386aab2fe3f3ad4d7b238b2dce5db",
    "ssh_verify_run": "67df7725fe75ff6d1c39db86124150b8",
}


def planned(kind: str, document: Any) -> JobSpec:
    (job,) = plan(read(kind, document), Config())
    assert isinstance(job, JobSpec)
    return job


@pytest.mark.parametrize("kind", RUNS)
def test_a_new_release_gives_the_fingerprints_of_the_last_one(kind: str) -> None:
    """Else every task that is repeated during a rollout would be a conflict. Change these only with a new version."""
    assert fingerprints(kind, whole(kind)) == [PINNED[kind]]


@pytest.mark.parametrize("kind", RUNS)
def test_a_job_of_release_0_1_is_compared_in_its_own_form(kind: str) -> None:
    """That form has no version, and the pool counts."""
    job = planned(kind, whole(kind))
    assert job.same_task(PINNED[kind])
    assert job.same_task(RELEASE_0_1[kind])
    assert not job.same_task(RELEASE_0_1[kind][:-1] + "0")
    assert not job.same_task("")
    assert not planned(kind, {**whole(kind), "_meta": {"resource_pool": "b"}}).same_task(RELEASE_0_1[kind])


@pytest.mark.parametrize("kind", RUNS)
def test_the_earlier_form_is_computed_only_if_one_is_met(kind: str) -> None:
    def unwanted() -> str:
        raise AssertionError

    job = msgspec.structs.replace(planned(kind, whole(kind)), earlier_fingerprint=unwanted)
    assert job.same_task(PINNED[kind])
    assert not job.same_task("2:0")
    with pytest.raises(AssertionError):
        job.same_task(RELEASE_0_1[kind])


@pytest.mark.parametrize("kind", RUNS)
def test_what_an_earlier_form_is_computed_from_has_no_secret(kind: str) -> None:
    task = msgspec.json.encode(planned(kind, whole(kind)).earlier_fingerprint).decode()
    for place, value in places(whole(kind)):
        if place in {"/keys/ssh/private", "/internal_token"}:
            assert str(value) not in task
