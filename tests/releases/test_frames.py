"""Functions and a sidecar of different releases: the version says whether each can read a frame."""

from __future__ import annotations

import base64
import re
from typing import Any, Literal

import msgspec
import pytest

from runner.errors import Problem, Unavailable
from runner.jobs import JobResult
from runner.payloads import RequestPolicy
from runner.request_types import REQUEST_TYPES
from runner.sidecar import frames
from tests.releases import RELEASES, recorded
from tests.unit import documents

pytestmark = pytest.mark.parametrize("release", RELEASES)

WORD = re.compile(r"\w+")
JOB_RESULTS = tuple(
    JobResult(name=f"job-{state}", driver="local", state=state) for state in ("created", "exists", "cancelled")
)
POLICY = RequestPolicy(runner_id="runner-1", public_key="fake key", allow_file_remotes=True)
PROBLEMS = (Problem("/run_id", "must be a string"), Problem("/keys", "is missing"))

REQUESTS: dict[str, frames.Request] = {
    "ping": frames.Ping(deadline=12.5),
    "ask-terms": frames.GetPolicy(),
    **{
        f"submit {name}": frames.submission(name, documents.read(name, documents.whole(name)), 12.5, "trace-1")
        for name in REQUEST_TYPES
    },
}
REPLIES: dict[str, frames.Reply] = {
    "accepted": frames.Accepted(jobs=JOB_RESULTS),
    "refused": frames.Refused(code="invalid", detail="two fields are wrong", retry_after=7, problems=PROBLEMS),
    "pong": frames.Pong(drivers=("kubernetes", "local"), pid=4711),
    "terms": frames.Policy(policy=POLICY),
}
"""By the recorder's names: the current code's frames with the same content as the recorded ones."""


def body(frame: bytes) -> bytes:
    """The frame without its header, which must contain the length of the rest."""
    header, rest = frame[: frames.HEADER.size], frame[frames.HEADER.size :]
    assert frames.length(header) == len(rest)
    return rest


def recorded_frames(release: str) -> dict[str, bytes]:
    return {name: base64.b64decode(frame) for name, frame in recorded(release, "frames")["frames"].items()}


def types_of(release: str) -> dict[str, Any]:
    """By tag: the release's own frame types, built from the recorded fields."""
    content = recorded(release, "frames")
    tags = {name: tag for tag, name in content["tags"].items()}
    made: dict[str, Any] = {"Literal": Literal}

    def make(name: str) -> None:
        described = content["types"][name]
        for other in content["types"]:
            if other not in made and any(
                other in WORD.findall(field["type"]) for field in described["fields"].values()
            ):
                make(other)
        fields = [
            (field, eval(each["type"], made), *([] if each["required"] else [None]))
            for field, each in sorted(described["fields"].items(), key=lambda field: not field[1]["required"])
        ]
        tag = {"tag_field": "kind", "tag": tags[name]} if name in tags else {}
        made[name] = msgspec.defstruct(name, fields, array_like=described["array"], **tag)

    for name in content["types"]:
        if name not in made:
            make(name)
    return {tag: made[name] for tag, name in content["tags"].items()}


def test_every_recorded_frame_has_a_current_counterpart(release: str) -> None:
    assert set(recorded_frames(release)) == set(REQUESTS) | set(REPLIES)


def test_a_frame_of_another_version_is_refused_and_both_versions_are_named(release: str) -> None:
    """Each side refuses it as unavailable: the caller repeats its request, and the rollout ends."""
    for name, frame in recorded_frames(release).items():
        decode = frames.decode_request if name in REQUESTS else frames.decode_reply
        with pytest.raises(Unavailable, match=f"version 1, this process needs {frames.VERSION}"):
            decode(body(frame))


def test_an_earlier_release_reads_the_version_of_the_current_frames(release: str) -> None:
    types = types_of(release)
    for name, frame in {**REQUESTS, **REPLIES}.items():
        current = msgspec.msgpack.decode(body(frames.encode(frame)), type=types[name.partition(" ")[0]])
        assert current.version == frames.VERSION
