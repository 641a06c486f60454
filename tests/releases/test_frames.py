"""Functions and a sidecar of different releases: each reads the frames of the other."""

from __future__ import annotations

import base64
import re
from typing import Any, Literal

import msgspec
import pytest

from runner.errors import Problem
from runner.jobs import JobResult
from runner.payloads import RequestPolicy
from runner.request_types import REQUEST_TYPES
from runner.sidecar import frames
from runner.sidecar.client import submission
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
        f"submit {name}": submission(name, documents.read(name, documents.whole(name)), 12.5, "trace-1")
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


def test_the_sidecar_reads_requests_of_an_earlier_release_s_functions(release: str) -> None:
    for name, frame in REQUESTS.items():
        read = frames.decode_request(body(recorded_frames(release)[name]))
        if isinstance(frame, frames.Submit):
            assert isinstance(read, frames.Submit)
            kind = REQUEST_TYPES[read.request_type].payload
            assert msgspec.json.decode(read.request, type=kind) == msgspec.json.decode(frame.request, type=kind)
            read, frame = (msgspec.structs.replace(each, request=b"") for each in (read, frame))
        assert read == frame


def test_functions_read_replies_of_an_earlier_release_s_sidecar(release: str) -> None:
    for name, frame in REPLIES.items():
        assert frames.decode_reply(body(recorded_frames(release)[name])) == frame


def test_an_earlier_release_reads_the_current_frames(release: str) -> None:
    types = types_of(release)
    for name, frame in {**REQUESTS, **REPLIES}.items():
        kind = types[name.partition(" ")[0]]
        current = msgspec.msgpack.decode(body(frames.encode(frame)), type=kind)
        earlier = msgspec.msgpack.decode(body(recorded_frames(release)[name]), type=kind)
        if name.startswith("submit"):  # the order of a request's members and its defaults may differ
            current.request = earlier.request = b""
        assert current == earlier


def test_current_requests_contain_every_member_of_an_earlier_release_s(release: str) -> None:
    """The earlier release ignores new members, and may need every member that it sent itself."""
    for name, frame in REQUESTS.items():
        if isinstance(frame, frames.Submit):
            before = frames.decode_request(body(recorded_frames(release)[name]))
            assert isinstance(before, frames.Submit)
            assert _within(msgspec.json.decode(before.request), msgspec.json.decode(frame.request)), name


def _within(part: Any, whole: Any) -> bool:
    """Whether `whole` contains every member of `part`, with the same value."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            name in whole and _within(each, whole[name]) for name, each in part.items()
        )
    if isinstance(part, list):
        return isinstance(whole, list) and len(part) == len(whole) and all(map(_within, part, whole))
    return bool(part == whole)
