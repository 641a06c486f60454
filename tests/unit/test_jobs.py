"""runner.jobs: jobs independent of any cluster, whose repr shows no secret."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.jobs import Container, Deadlines, JobSpec, Report, Resources, Secret, SecretRef, TokenClaims

CLAIMS = TokenClaims(scope="analysis.*", run_id="r-1", job="analysis-s0-r-1-1", lifetime=60)


def container(**parts: Any) -> Container:
    bare = {"name": "coat", "image": "coat:latest", "command": ("/app/coat",), "args": (), "env": ()}
    return Container(**{**bare, "requests": Resources(cpu=1, memory=1), "limits": Resources(cpu=1, memory=1), **parts})


def job(**parts: Any) -> JobSpec:
    bare = {
        "name": "analysis-s0-r-1-1",
        "fingerprint": "f",
        "pool": "default",
        "labels": {},
        "pod_labels": {},
        "init": None,
        "main": container(),
        "volumes": (),
        "deadlines": Deadlines(queue=1, clone=2, run=3),
        "report": Report(request_type="analysis_run", run_id="r-1", path="/p", task="t", scope="s"),
        "secrets": {},
    }
    return JobSpec(**{**bare, **parts})


class TestSecret:
    def test_only_reveal_gives_its_value(self) -> None:
        secret = Secret("hunter2")
        assert secret.reveal() == "hunter2"
        for shown in (repr(secret), str(secret), f"{secret}", f"{secret!s:>20}", "%s" % secret, repr([secret])):  # noqa: UP031
            assert "hunter2" not in shown

    def test_it_cannot_be_serialised(self) -> None:
        with pytest.raises(TypeError):
            msgspec.json.encode(Secret("hunter2"))
        with pytest.raises(TypeError):
            msgspec.msgpack.encode(job(secrets={"X": Secret("hunter2")}))
        with pytest.raises(TypeError):
            json.dumps({"secret": Secret("hunter2")})
        assert not hasattr(Secret("hunter2"), "__dict__")

    def test_it_is_compared_by_its_value(self) -> None:
        assert Secret("a") == Secret("a")
        assert Secret("a") != Secret("b")
        assert Secret("a") != "a"
        assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
        assert copy.deepcopy(Secret("a")) == Secret("a")

    def test_an_empty_one_is_false(self) -> None:
        assert not Secret("")
        assert Secret(" ")


def test_the_repr_of_a_job_shows_the_names_of_its_secrets_and_no_value() -> None:
    shown = repr(job(secrets={"SSH_PRIVATE_KEY": Secret("hunter2"), "RESULT_HTTP_TOKEN": CLAIMS}))
    assert "hunter2" not in shown
    assert "SSH_PRIVATE_KEY" in shown
    assert "analysis.*" in shown


def test_a_container_names_each_of_its_secrets_once() -> None:
    seen = container(
        args=("--url", SecretRef(name="URL"), SecretRef(name="A")),
        env=(("A", SecretRef(name="A")), ("PLAIN", "URL"), ("OTHER", SecretRef(name="KEY"))),
    )
    assert seen.secret_names() == ("A", "KEY", "URL")
    assert container().secret_names() == ()


def test_containers_are_in_the_order_in_which_they_run() -> None:
    init, main = container(name="coat"), container(name="marvin")
    assert job(init=init, main=main).containers == (init, main)
    assert job(main=main).containers == (main,)


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**6))
def test_the_total_is_never_less_than_the_run_deadline(queue: int, clone: int, run: int) -> None:
    assert Deadlines(queue=queue, clone=clone, run=run).total == queue + clone + run >= run


def test_jobs_are_frozen_and_compared_by_content() -> None:
    assert job() == job()
    assert job(name="other") != job()
    with pytest.raises(AttributeError):
        job().name = "other"  # type: ignore[misc]
