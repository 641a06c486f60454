"""Functions and sidecar of two releases side by side: each reads the frames of the other."""

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
PLACED = tuple(
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
    "accepted": frames.Accepted(jobs=PLACED),
    "refused": frames.Refused(code="invalid", detail="two fields are wrong", retry_after=7, problems=PROBLEMS),
    "pong": frames.Pong(drivers=("kubernetes", "local"), pid=4711),
    "terms": frames.Policy(policy=POLICY),
}
"""By what the recorder calls them: the current code's frames that say the same as the recorded ones."""


def body(frame: bytes) -> bytes:
    """What follows the header, which must say how long it is."""
    header, rest = frame[: frames.HEADER.size], frame[frames.HEADER.size :]
    assert frames.length(header) == len(rest)
    return rest


def recorded_frames(release: str) -> dict[str, bytes]:
    return {name: base64.b64decode(frame) for name, frame in recorded(release, "frames")["frames"].items()}


def types_of(release: str) -> dict[str, Any]:
    """The release's own frames by tag, put together from what was recorded of their fields."""
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


def test_every_recorded_frame_has_its_like(release: str) -> None:
    assert set(recorded_frames(release)) == set(REQUESTS) | set(REPLIES)


def test_the_sidecar_reads_what_functions_of_the_release_before_send(release: str) -> None:
    for name, frame in REQUESTS.items():
        read = frames.decode_request(body(recorded_frames(release)[name]))
        if isinstance(frame, frames.Submit):
            assert isinstance(read, frames.Submit)
            kind = REQUEST_TYPES[read.request_type].payload
            assert msgspec.json.decode(read.request, type=kind) == msgspec.json.decode(frame.request, type=kind)
            read, frame = (msgspec.structs.replace(each, request=b"") for each in (read, frame))
        assert read == frame


def test_functions_read_what_a_sidecar_of_the_release_before_answers(release: str) -> None:
    for name, frame in REPLIES.items():
        assert frames.decode_reply(body(recorded_frames(release)[name])) == frame


def test_the_release_before_reads_our_frames(release: str) -> None:
    types = types_of(release)
    for name, frame in {**REQUESTS, **REPLIES}.items():
        kind = types[name.partition(" ")[0]]
        ours = msgspec.msgpack.decode(body(frames.encode(frame)), type=kind)
        theirs = msgspec.msgpack.decode(body(recorded_frames(release)[name]), type=kind)
        if name.startswith("submit"):  # the request's members have their own order and defaults
            ours.request = theirs.request = b""
        assert ours == theirs


def test_the_release_before_reads_our_requests(release: str) -> None:
    """A member that is new must have a default there, and none may be missing that was sent before."""
    for name, frame in REQUESTS.items():
        if isinstance(frame, frames.Submit):
            before = frames.decode_request(body(recorded_frames(release)[name]))
            assert isinstance(before, frames.Submit)
            assert _within(msgspec.json.decode(before.request), msgspec.json.decode(frame.request)), name


def _within(part: Any, whole: Any) -> bool:
    """Whether `whole` has all of `part`, and the same."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            name in whole and _within(each, whole[name]) for name, each in part.items()
        )
    if isinstance(part, list):
        return isinstance(whole, list) and len(part) == len(whole) and all(map(_within, part, whole))
    return bool(part == whole)
