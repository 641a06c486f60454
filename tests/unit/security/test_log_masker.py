"""runner.security.masking.LogMasker: line by line, nothing more is shown than of the whole text, and nothing later."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.security.masking import HELD_LINES, KEY_LINES, LogMasker, mask
from tests.unit.security.keys_in_text import SHAPES, key, remains

BEFORE = "cloning the repository\ngit version 2.47.0\nusing https://user:hunter2@host/x\nOK\n"
AFTER = "fatal: Could not read from remote repository.\ndone\n"
DIGESTS = [hashlib.sha1(str(number).encode()).hexdigest() for number in range(20)]

shapes = st.sampled_from(sorted(SHAPES))
seeds = st.integers(0, 2**32)


def masked(text: str, *, idle_after: frozenset[int] = frozenset()) -> str:
    """What is shown of a text whose lines come one by one; after some of them, none comes for a while."""
    masker = LogMasker()
    shown = ""
    for number, line in enumerate(text.splitlines()):
        shown += masker.feed(line)
        shown += masker.idle() if number in idle_after else ""
    return shown + masker.close()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_key_is_masked_as_in_the_whole_text(shape: str) -> None:
    raw = BEFORE + key(SHAPES[shape], seed=1).text + AFTER
    assert masked(raw) == mask(raw)


@settings(deadline=None)
@given(shapes, seeds, st.sampled_from(["", "12:00 ", "coat | ", "\x1b[31m"]), st.frozensets(st.integers(0, 40)))
def test_no_part_of_a_key_is_shown_whenever_its_lines_come(
    shape: str, seed: int, prefix: str, idle_after: frozenset[int]
) -> None:
    printed = key(SHAPES[shape], seed)
    raw = "".join(f"{prefix}{line}\n" for line in (BEFORE + printed.text + AFTER).splitlines())
    shown = masked(raw, idle_after=idle_after)
    assert not remains(printed.body, shown)
    assert shown.endswith(f"{prefix}done\n")


@settings(deadline=None)
@given(shapes, seeds, st.integers(2, 16), st.frozensets(st.integers(0, 40)))
def test_no_part_of_a_key_is_shown_whose_first_lines_are_not_in_the_log(
    shape: str, seed: int, cut: int, idle_after: frozenset[int]
) -> None:
    printed = key(SHAPES[shape], seed)
    raw = "".join(printed.text.splitlines(keepends=True)[cut:]) + AFTER
    shown = masked(raw, idle_after=idle_after)
    assert not remains(printed.body, shown)
    assert shown.endswith(AFTER)


@settings(deadline=None)
@given(seeds, st.integers(40, 59))
def test_no_part_of_a_key_in_narrow_lines_is_shown_without_its_begin(seed: int, width: int) -> None:
    printed = key(SHAPES["RSA"]._replace(width=width), seed)
    raw = printed.text.partition("\n")[2] + AFTER
    assert not remains(printed.body, masked(raw))


def test_a_line_is_shown_at_once_unless_it_may_begin_a_key() -> None:
    masker = LogMasker()
    for line in ("cloning", "OK", "commit " + DIGESTS[0], "/usr/lib/python3/dist-packages"):
        assert masker.feed(line) == f"{line}\n"
    assert masker.feed(DIGESTS[0]) == ""
    assert masker.idle() == f"{DIGESTS[0]}\n"


def test_checksums_are_shown_a_few_lines_later() -> None:
    masker = LogMasker()
    shown = [masker.feed(line) for line in DIGESTS]
    assert shown == [""] * HELD_LINES + [f"{line}\n" for line in DIGESTS[:-HELD_LINES]]
    assert masker.close() == "".join(f"{line}\n" for line in DIGESTS[-HELD_LINES:])


def test_what_precedes_an_end_is_a_key_even_if_it_is_not_random() -> None:
    assert masked(f"{'ab' * 25}\nQk==\n-----END PRIVATE KEY-----\nafter\n") == "***\n***\nafter\n"


def test_a_begin_without_an_end_does_not_hide_the_log_for_ever() -> None:
    rest = [f"line {number}" for number in range(KEY_LINES + 5)]
    shown = masked("\n".join(["expected -----BEGIN PRIVATE KEY-----", *rest]))
    assert shown == "expected ***\n" + "".join(f"{line}\n" for line in rest[KEY_LINES - 1 :])


def test_a_key_that_goes_on_at_the_end_ends_its_line() -> None:
    assert masked("x -----BEGIN PRIVATE KEY-----\nabc\n") == "x ***\n"


def test_two_keys_one_after_the_other() -> None:
    first, second = key(SHAPES["RSA"], 1), key(SHAPES["OPENSSH"], 2)
    assert masked(first.text + second.text + AFTER) == f"***\n***\n{AFTER}"
    assert masked(f'{first.text[:-1]}, {second.text[:-1]}"\n') == '***, ***"\n'


@pytest.mark.parametrize("within", ["name: token", "password:", "- name: DB_PASSWORD"])
def test_a_name_within_a_block_does_not_end_the_block(within: str) -> None:
    text = f"secret: |\n  {within}\n  hunter\n  hunter\nafter: it\n"
    assert masked(text) == mask(text)
    assert "hunter" not in masked(text)
