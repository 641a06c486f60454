"""runner.security.private_keys: no part of a private key remains, wherever a log was cut; ordinary logs remain."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.security.masking import evidence_tail, mask, printable
from tests.unit.security.keys_in_text import SHAPES, key, remains

BEFORE = "cloning the repository\ngit version 2.47.0\nfatal: key loaded:\n"
AFTER = "fatal: Could not read from remote repository.\ndone\n"

seeds = st.integers(0, 2**32)
shapes = st.sampled_from(sorted(SHAPES))


@pytest.mark.parametrize("shape", SHAPES)
def test_no_part_of_a_key_remains_wherever_the_beginning_of_the_log_was_cut_off(shape: str) -> None:
    printed = key(SHAPES[shape], seed=1)
    raw = BEFORE + printed.text + AFTER
    for cut in range(len(raw)):
        assert not remains(printed.body, evidence_tail(raw[cut:], 20, 2000)), cut


@settings(deadline=None)
@given(shapes, seeds, st.integers(40, 2400), st.data())
def test_no_part_of_a_key_of_any_length_remains_after_any_cut_and_for_any_limits(
    shape: str, seed: int, size: int, data: st.DataObject
) -> None:
    printed = key(SHAPES[shape], seed, size)
    raw = BEFORE + printed.text + AFTER
    cut = data.draw(st.integers(0, len(raw)))
    lines, limit = data.draw(st.integers(1, 80)), data.draw(st.integers(1, 4000))
    kept = evidence_tail(raw[cut:], lines, limit)
    assert not remains(printed.body, kept)
    assert len(kept) <= limit
    assert kept.count("\n") < lines


@settings(deadline=None)
@given(shapes, seeds, st.data())
def test_no_part_of_a_key_remains_if_neither_begin_nor_end_is_in_the_text(
    shape: str, seed: int, data: st.DataObject
) -> None:
    printed = key(SHAPES[shape], seed)
    start = data.draw(st.integers(0, len(printed.text) - 300))
    end = data.draw(st.integers(start + 300, len(printed.text)))
    assert not remains(printed.body, mask(printed.text[start:end]))


@settings(deadline=None)
@given(shapes, seeds, st.sampled_from(["2026-11-27T01:02:03Z ", "coat | ", "  ", "\x1b[31m", '> "']), st.data())
def test_no_part_of_a_key_remains_if_each_line_has_a_prefix(
    shape: str, seed: int, prefix: str, data: st.DataObject
) -> None:
    printed = key(SHAPES[shape], seed)
    raw = "".join(f"{prefix}{line}\n" for line in (printed.text + AFTER).splitlines())
    cut = data.draw(st.integers(0, raw.index(" END " if shape == "SSH2" else "-END")))
    # In a first line that was cut, and that a line with a prefix follows, a short rest of a key looks like a word.
    assert not remains(printed.body, evidence_tail(raw[cut:].partition("\n")[2], 80, 4000))


@pytest.mark.parametrize("feed", ["\\n", "\\r\\n", "\\\\n"])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_part_of_a_key_in_one_line_remains_wherever_it_was_cut(shape: str, feed: str) -> None:
    printed = key(SHAPES[shape], seed=2)
    line = '{"key": "' + printed.text.replace("\n", feed) + '", "next": 1}'
    for cut in range(0, len(line), 7):
        masked = mask(line[cut:])
        assert not remains(printed.body, masked.replace(feed, ""))
        assert masked.endswith('", "next": 1}'[-len(masked) :])


@settings(deadline=None)
@given(shapes, seeds, st.text(), st.text(), st.integers(0, 2000), st.integers(0, 2000))
def test_a_line_of_json_with_any_part_of_a_key_is_still_json(
    shape: str, seed: int, before: str, after: str, start: int, end: int
) -> None:
    printed = key(SHAPES[shape], seed)
    fields = {"before": before, "key": before + printed.text[start : start + end] + after, "after": after + '"'}
    assert json.loads(mask(json.dumps(fields))).keys() == fields.keys()


def test_a_key_without_its_end_hides_the_rest_of_the_text() -> None:
    printed = key(SHAPES["RSA"], seed=3)
    assert mask(BEFORE + printed.text.partition("-----END")[0] + "interleaved: x\n") == BEFORE + "***"


def test_what_is_around_a_key_remains() -> None:
    for shape in SHAPES.values():
        printed = key(shape, seed=4)
        assert mask(BEFORE + printed.text + AFTER) == f"{BEFORE}***\n{AFTER}"
        tail = printed.text[200:]
        assert mask(f"{tail}{AFTER}") == f"***\n{AFTER}"
        assert mask(f"{BEFORE}ok: it has this tail\n{printed.text.partition(chr(10))[2]}").startswith(BEFORE + "ok: it")


def test_the_short_last_line_of_a_key_is_hidden_behind_a_prefix_too() -> None:
    tail = "coat | c2hvcnQgbGFzdCBsaW5lIG9mIGEga2V5\ncoat | -----END RSA PRIVATE KEY-----\n"
    assert "c2hvcnQ" not in mask(tail)
    assert mask("the key is invalid\nexpected -----END RSA PRIVATE KEY-----") == "the key is invalid\n***"


def test_colours_do_not_show_a_key_of_which_neither_begin_nor_end_is_in_the_text() -> None:
    printed = key(SHAPES["RSA"], seed=6)
    raw = "\n".join(f"\x1b[1;31m{line}\x1b[0m" for line in printed.text.splitlines()[3:9])
    assert evidence_tail(raw, 20, 2000) == "***"


def test_a_key_is_masked_before_its_beginning_is_cut_off() -> None:
    assert evidence_tail("-----BEGIN PRIVATE KEY-----\nhunter2 is\nno base64\n", 1, 100) == "***"


def test_a_quote_within_a_string_of_json_after_a_part_of_a_key_stays_escaped() -> None:
    line = json.dumps({"message": 'the key "-----BEGIN PRIVATE KEY-----\nAbC" is cut'})
    assert json.loads(mask(line)) == {"message": 'the key "***" is cut'}


@pytest.mark.parametrize("lone", ["interleaved: a line of another process", "10% done", ""])
def test_lines_of_another_process_within_a_key_hide_none_of_it(lone: str) -> None:
    printed = key(SHAPES["RSA"], seed=5)
    lines = printed.text.splitlines()
    for at in range(2, len(lines) - 2):
        tail = "\n".join([*lines[1:at], lone, *lines[at:]])
        assert not remains(printed.body, mask(tail)), at


ORDINARY = {
    "checksums": "\n".join(Random(n).randbytes(32).hex() for n in range(9)),
    "commits": "\n".join(Random(n).randbytes(20).hex().upper() for n in range(9)),
    "names of tests": "\n".join(
        f"should{what}WhenTheRequestHasNo{field}AndTheServerAnswers404"
        for what in ("Fail", "Retry", "ReturnHTTPErrors")
        for field in ("Body", "Header", "Token")
    ),
    "paths": "\n".join(f"src/main/java/com/example/services/{name}/Repository2" for name in ("Auth", "Http", "Users")),
    "rulers": "\n".join(["=" * 80, "A" * 20, "-" * 80, "/" * 80, "\\" * 80]),
    "go.sum": "\n".join(f"github.com/a/b v1.{n}.0 h1:9bNlMn1WZ8nJ7TqVoVJk5xq3rS5yB2wU4Lq8F6dZk0A=" for n in range(9)),
    "npm": "\n".join(f"integrity sha512-{'aB3' * 28}==" for _ in range(9)),
    "DNA": "\n".join("".join(Random(n).choices("ACGT", k=60)) for n in range(9)),
    "traceback": 'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    g(x)\nValueError: bad value\n',
    "words": "\n".join(["done"] * 200),
    "one hash": "the digest is\nq83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=\nof the file",
    "public key": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
}


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_log_is_not_changed(name: str) -> None:
    assert mask(ORDINARY[name]) == ORDINARY[name]


@given(st.text())
def test_what_no_database_takes_is_replaced(text: str) -> None:
    clean = printable(text + "\x00\x1b\x9b\ud800\r\n")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", clean)
    assert clean.endswith("\ufffd\ufffd\ufffd\ufffd\n")
    assert printable(clean) == clean
    clean.encode()


def test_the_end_of_a_log_is_kept_in_whole_lines() -> None:
    assert evidence_tail("one\r\ntwo\nthree\n", 2, 100) == "two\nthree"
    assert evidence_tail("one\ntwo\nthree\n", 9, 9) == "two\nthree"
    assert evidence_tail("one\ntwo\nthree\n", 9, 8) == "three"
    assert evidence_tail("one\ntwo\nthree\n", 9, 3) == "ree"
    assert evidence_tail("", 9, 3) == ""
    assert evidence_tail("\ttab\x07", 9, 30) == "\ttab\ufffd"


def test_a_password_is_masked_before_the_log_is_cut() -> None:
    line = "https://user:hunter2-hunter2-hunter2@git.example/x"
    for limit in range(1, len(line)):
        assert "hunter2" not in evidence_tail(line, 1, limit)


EXPENSIVE: dict[str, Callable[[int], str]] = {
    "long lines": lambda n: ("A" * 39 + "-") * n,
    "words": lambda n: "done\n" * (8 * n),
    "one word": lambda n: "aB3" * (13 * n),
    "headers of tokens": lambda n: "eyJ-" * (4 * n),
    "ends": lambda n: "x\n-----END PRIVATE KEY-----\n" * n,
    "ends in one line": lambda n: "abc -----END PRIVATE KEY-----" * n,
    "beginnings in JSON": lambda n: '"-----BEGIN PRIVATE KEY-----",' * n,
    "keys": lambda n: (key(SHAPES["RSA"], 1, 40).text + "x: y\n") * (n // 4),
    "dashes": lambda n: "-" * (40 * n),
    "logins": lambda n: "://" * (13 * n),
    "signatures": lambda n: "?token" * (6 * n),
    "URLs in a URL": lambda n: "://a" * (10 * n),
    "queries": lambda n: "://a?" * (8 * n),
    "escaped slashes": lambda n: ":\\" * (20 * n),
    "two slashes": lambda n: "//a:" * (10 * n),
    "names": lambda n: "token=" * (6 * n),
    "names without a value": lambda n: "token=,'" * (5 * n),
    "quoted names": lambda n: "token='" * (6 * n),
    "headers": lambda n: "authorization: a, " * (2 * n),
    "headers in a row": lambda n: "authorization:" * (3 * n),
    "backslashes": lambda n: "token" + "\\" * (40 * n),
    "schemes": lambda n: "bearer " * (6 * n),
    "prefixes": lambda n: "ghp_" * (10 * n),
    "short tokens": lambda n: "sk-a " * (8 * n),
    "dots": lambda n: "eyJ." * (10 * n),
    "slashes": lambda n: "/" * (40 * n),
}


@pytest.mark.parametrize("name", EXPENSIVE)
def test_the_cost_grows_with_the_length_of_the_text_and_no_faster(name: str) -> None:
    """Eight times the text takes about eight times as long; were the cost quadratic, it would be 64 times."""
    small, large = (seconds(EXPENSIVE[name](n)) for n in (1000, 8000))
    assert large < 24 * small + 0.005


def seconds(text: str) -> float:
    """The least CPU time of three runs."""
    taken = []
    for _ in range(3):
        began = time.process_time()
        evidence_tail(text, 20, 2000)
        taken.append(time.process_time() - began)
    return min(taken)
