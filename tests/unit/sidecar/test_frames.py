"""runner.sidecar.frames: values to bytes and back, other versions, bounds, invalid bytes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import TABLE, Busy, Invalid, Problem, TooLarge, Unavailable, revive
from runner.jobs import JobResult
from runner.payloads import RequestPolicy
from runner.sidecar import frames

FINITE = st.floats(allow_nan=False, allow_infinity=False)
RESULT = st.builds(
    JobResult, name=st.text(), driver=st.text(), state=st.sampled_from(["created", "exists", "cancelled"])
)
POLICY = st.builds(RequestPolicy, runner_id=st.text(), public_key=st.text(), allow_file_remotes=st.booleans())
PROBLEM = st.builds(Problem, pointer=st.text(), message=st.text())
REQUESTS = st.one_of(
    st.builds(
        frames.Submit, request_type=st.text(), request=st.binary(max_size=300), deadline=FINITE, trace_id=st.text()
    ),
    st.builds(frames.Ping, deadline=FINITE),
    st.builds(frames.GetPolicy),
)
REPLIES = st.one_of(
    st.builds(frames.Accepted, jobs=st.lists(RESULT).map(tuple)),
    st.builds(
        frames.Refused,
        code=st.sampled_from(sorted(TABLE)) | st.text(),
        detail=st.text(),
        retry_after=st.none() | st.integers(0, 600),
        problems=st.lists(PROBLEM).map(tuple),
    ),
    st.builds(frames.Pong, drivers=st.lists(st.text()).map(tuple), pid=st.integers(1, 2**31)),
    st.builds(frames.Policy, policy=POLICY),
)


def body(frame: Any) -> bytes:
    """The bytes after the header, which must have their length."""
    encoded = frames.encode(frame)
    (header, rest) = encoded[: frames.HEADER.size], encoded[frames.HEADER.size :]
    assert frames.length(header) == len(rest)
    return rest


def altered(frame: Any, **members: Any) -> bytes:
    """The frame as another version would send it."""
    return msgspec.msgpack.encode({**msgspec.msgpack.decode(body(frame)), **members})


class TestRoundTrip:
    @given(REQUESTS)
    def test_of_requests(self, frame: frames.Request) -> None:
        assert frames.decode_request(body(frame)) == frame

    @given(REPLIES)
    def test_of_replies(self, frame: frames.Reply) -> None:
        assert frames.decode_reply(body(frame)) == frame

    def test_no_frame_is_missing_from_these_tests(self) -> None:
        named = {kind.__name__ for kind in frames.Frame.__subclasses__()}
        assert named == {"Submit", "Ping", "GetPolicy", "Accepted", "Refused", "Pong", "Policy"}

    @pytest.mark.parametrize("code", sorted(TABLE))
    def test_of_errors(self, code: str) -> None:
        error = revive(code, "it went wrong", 7, [Problem("/a", "is b")])
        reply = frames.decode_reply(body(frames.Refused.of(error)))
        assert isinstance(reply, frames.Refused)
        again = reply.error()
        assert (type(again), again.detail, again.retry_after) == (type(error), error.detail, error.retry_after)
        assert again.problems == error.problems

    def test_of_all_the_problems_of_a_request(self) -> None:
        error = Invalid(Problem(f"/checks/{number}", "is wrong") for number in range(50))
        reply = frames.decode_reply(body(frames.Refused.of(error)))
        assert isinstance(reply, frames.Refused)
        assert reply.error().problems == error.problems


class TestOtherVersions:
    def test_unknown_fields_are_skipped(self) -> None:
        ping = frames.Ping(deadline=1.0)
        assert frames.decode_request(altered(ping, x_new={"of": ["the", "next"]})) == ping

    def test_fields_with_a_default_may_be_missing(self) -> None:
        bare = msgspec.msgpack.encode({"kind": "refused", "code": "busy", "detail": "later"})
        reply = frames.decode_reply(bare)
        assert isinstance(reply, frames.Refused)
        assert reply == frames.Refused(code="busy", detail="later")
        assert isinstance(reply.error(), Busy)

    @pytest.mark.parametrize("version", [0, 1, 3, 10**9])
    def test_another_version_is_refused_and_both_versions_are_named(self, version: int) -> None:
        with pytest.raises(Unavailable, match=f"version {version}, this process needs {frames.VERSION}"):
            frames.decode_request(altered(frames.GetPolicy(), version=version))
        with pytest.raises(Unavailable, match=f"version {version}"):
            frames.decode_reply(altered(frames.Pong(drivers=(), pid=1), version=version))

    @pytest.mark.parametrize("members", [{"kind": "from-the-future"}, {"deadline": {"at": "noon"}}])
    def test_another_version_is_named_even_if_nothing_else_can_be_read(self, members: dict[str, Any]) -> None:
        with pytest.raises(Unavailable, match="version 3"):
            frames.decode_request(altered(frames.Ping(deadline=1.0), **{"version": 3, **members}))

    @pytest.mark.parametrize(
        "members",
        [{"kind": "from-the-future"}, {"kind": 5}, {"deadline": "soon"}, {"deadline": None}, {"version": "1"}],
    )
    def test_a_frame_that_cannot_be_decoded_is_unavailable(self, members: dict[str, Any]) -> None:
        with pytest.raises(Unavailable, match="same release"):
            frames.decode_request(altered(frames.Ping(deadline=1.0), **members))

    def test_a_request_is_not_decoded_as_a_reply_nor_a_reply_as_a_request(self) -> None:
        with pytest.raises(Unavailable):
            frames.decode_reply(body(frames.GetPolicy()))
        with pytest.raises(Unavailable):
            frames.decode_request(body(frames.Accepted(jobs=())))


class TestBounds:
    def test_a_frame_may_have_16_mib_and_not_one_byte_more(self) -> None:
        assert frames.MAX_FRAME == 16 * 1024 * 1024
        assert frames.length(frames.HEADER.pack(frames.MAX_FRAME)) == frames.MAX_FRAME
        with pytest.raises(Unavailable, match=str(frames.MAX_FRAME + 1)):
            frames.length(frames.HEADER.pack(frames.MAX_FRAME + 1))

    @pytest.mark.parametrize("header", [b"HTTP", b"GET ", b"\x16\x03\x01\x02", b"\xff" * 4])
    def test_the_first_bytes_of_another_protocol_are_refused(self, header: bytes) -> None:
        with pytest.raises(Unavailable):
            frames.length(header)

    def test_a_frame_over_the_bound_is_not_encoded(self) -> None:
        def submit(size: int) -> frames.Submit:
            return frames.Submit(request_type="analysis_run", request=b"x" * size, deadline=1.0, trace_id="t")

        around = len(body(submit(100_000))) - 100_000
        assert len(body(submit(frames.MAX_FRAME - around))) == frames.MAX_FRAME
        with pytest.raises(TooLarge, match=str(frames.MAX_FRAME + 1)):
            frames.encode(submit(frames.MAX_FRAME - around + 1))


class TestGarbage:
    @given(st.binary(max_size=200))
    def test_random_bytes_raise_unavailable_and_nothing_else(self, garbage: bytes) -> None:
        for decode in (frames.decode_request, frames.decode_reply):
            try:
                frame: Any = decode(garbage)
            except Unavailable:
                continue
            assert isinstance(frame, frames.Frame)

    @given(REQUESTS | REPLIES, st.floats(0, 1, exclude_max=True), st.binary(max_size=4), st.integers(0, 9))
    def test_a_frame_with_changed_bytes_raises_unavailable_and_nothing_else(
        self, frame: frames.Request | frames.Reply, at: float, patch: bytes, length: int
    ) -> None:
        good = body(frame)
        begin = int(at * len(good))
        self._decode_both(good[:begin] + patch + good[begin + length :])

    @given(REQUESTS | REPLIES, st.floats(0, 1, exclude_max=True))
    def test_a_frame_that_was_cut_off_is_unavailable(self, frame: frames.Request | frames.Reply, at: float) -> None:
        good = body(frame)
        for decode in (frames.decode_request, frames.decode_reply):
            with pytest.raises(Unavailable):
                decode(good[: int(at * len(good))])

    @pytest.mark.parametrize("garbage", [b"\x91" * 100_000, b"\x81\xa1a" * 100_000, b"\xdf\xff\xff\xff\xff", b"\xc1"])
    def test_deep_nesting_or_a_false_size_raises_unavailable_and_nothing_else(self, garbage: bytes) -> None:
        self._decode_both(garbage)

    def _decode_both(self, garbage: bytes) -> None:
        for decode in (frames.decode_request, frames.decode_reply):
            try:
                decode(garbage)
            except Unavailable:
                continue
