"""runner.drivers.logs.following: what the loop and its lines do, with a scripted source."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runner.drivers.logs.following import FAILING_SECONDS, LONGEST_PAUSE, LogLines, follow
from runner.drivers.logs.offset import LOST, LogOffset
from runner.errors import Rejected, Unavailable
from tests.harness.clock import ManualClock

DIGEST = "0123456789abcdef0123456789abcdef01234567"


class Scripted:
    """Each reading is the next step; the last one is repeated."""

    def __init__(self, *steps: Callable[[LogLines], bool]) -> None:
        self.steps = list(steps)

    def read(self, lines: LogLines) -> bool:
        return (self.steps.pop(0) if len(self.steps) > 1 else self.steps[0])(lines)


def prints(data: bytes, container: str = "marvin", *, stream: str = "", last: bool = False) -> Callable[..., bool]:
    def step(lines: LogLines) -> bool:
        lines.write(container, data, stream)
        return last

    return step


def fails(_lines: LogLines) -> bool:
    raise Unavailable("the node does not answer")


END = prints(b"", last=True)


def received(*steps: Callable[[LogLines], bool], clock: ManualClock | None = None) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    follow(Scripted(*steps), lambda *each: found.append(each), clock or ManualClock())
    return found


def test_only_whole_lines_are_passed_on_and_characters_are_not_cut() -> None:
    halves = "zwölf\n".encode()
    assert received(prints(b"one\ntw"), prints(b"o\n" + halves[:3]), prints(halves[3:]), prints(b"rest"), END) == [
        ("marvin", "one\n"),
        ("marvin", "two\n"),
        ("marvin", "zwölf\n"),
        ("marvin", "rest\n"),
    ]


def test_a_secret_is_recognized_whose_halves_come_apart() -> None:
    assert received(prints(b"https://user:hun"), prints(b"ter2@host/\n"), END) == [("marvin", "https://***@host/\n")]


def test_the_lines_of_two_streams_do_not_mix() -> None:
    steps = (prints(b"o", stream="stdout"), prints(b"e", stream="stderr"), prints(b"ut\n", stream="stdout"))
    assert received(*steps, prints(b"rr\n", stream="stderr"), END) == [("marvin", "out\n"), ("marvin", "err\n")]


def test_the_last_line_of_a_container_precedes_the_next_container() -> None:
    assert received(prints(b"cloned", "coat"), prints(b"first\n"), END) == [("coat", "cloned\n"), ("marvin", "first\n")]


def test_a_held_line_is_passed_on_if_no_other_comes() -> None:
    found: list[str] = []
    clock = ManualClock()
    seen_at: list[float] = []

    def take(_container: str, text: str) -> None:
        found.append(text)
        seen_at.append(clock.monotonic())

    quiet = [prints(b"")] * 10
    began = clock.monotonic()
    follow(Scripted(prints(f"{DIGEST}\n".encode()), *quiet, prints(b"next\n"), END), take, clock)
    assert found == [f"{DIGEST}\n", "next\n"]
    assert began < seen_at[0] < seen_at[1]


def test_errors_of_less_than_a_minute_are_passed_over() -> None:
    clock = ManualClock()
    assert received(prints(b"one\n"), *[fails] * 50, prints(b"two\n"), END, clock=clock) == [
        ("marvin", "one\n"),
        ("marvin", "two\n"),
    ]
    assert max(clock.slept) == LONGEST_PAUSE


def test_a_log_that_cannot_be_read_for_a_minute_is_given_up_after_what_is_held() -> None:
    clock, found = ManualClock(), []
    began = clock.monotonic()
    with pytest.raises(Unavailable, match="the node does not answer"):
        follow(Scripted(prints(b"one\ntwo"), fails), lambda *each: found.append(each), clock)
    assert clock.monotonic() - began >= FAILING_SECONDS
    assert found == [("marvin", "one\n"), ("marvin", "two\n")]


def test_a_refusal_is_not_tried_again() -> None:
    def refuses(_lines: LogLines) -> bool:
        raise Rejected("no right to read logs")

    clock = ManualClock()
    with pytest.raises(Rejected):
        received(refuses, clock=clock)
    assert clock.slept == []


def test_a_log_is_read_once_also_after_its_beginning_was_removed() -> None:
    offset, lines = LogOffset(), [f"line {number}\n".encode() for number in range(2000)]

    def new(log: bytes) -> bytes:
        return offset.new(lambda start: log[start:])

    assert new(b"") == b""
    assert new(b"".join(lines[:1000])) == b"".join(lines[:1000])
    assert new(b"".join(lines[:1000])) == b""
    assert new(b"".join(lines[500:1200])) == b"".join(lines[1000:1200])
    assert new(b"head\n[100 bytes were left out here]\n" + b"".join(lines[700:1300])) == b"".join(lines[1200:1300])
    assert new(b"") == b""  # its node does not answer
    assert new(b"head\n[100 bytes were left out here]\n" + b"".join(lines[800:1301])) == lines[1300]
    assert new(b"".join(lines[1900:])) == LOST + b"".join(lines[1900:])
    assert new(b"".join(lines[1900:]) + b"more\n") == b"more\n"
