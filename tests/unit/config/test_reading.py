"""runner.config.reading: typed reading that reports every bad field, and lets nothing but our errors out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Raw

from runner.config.reading import MAX_DEPTH, MAX_PROBLEM_BYTES, MAX_PROBLEMS, read, without_lone_surrogates
from runner.errors import Invalid, Malformed, OrchestratorError, Problem

Small = Annotated[str, Meta(max_length=3, description="at most 3 characters")]


class Leaf(msgspec.Struct, frozen=True):
    name: Small
    count: int = 7


class Tree(msgspec.Struct, frozen=True):
    leaf: Leaf
    leaves: Annotated[tuple[Leaf, ...], Meta(max_length=2, description="a list of at most 2")] = ()
    names: dict[str, Small] = {}
    either: Annotated[int | str, Meta(description="a number or a text")] = 0
    maybe: int | None = None
    raw: Raw = Raw(b"null")


def problems(document: bytes | str, **options: Any) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        read(document.encode() if isinstance(document, str) else document, Tree, **options)
    return [(problem.pointer, problem.message) for problem in caught.value.problems]


def nested(levels: int, *, opening: str = "[", closing: str = "]") -> bytes:
    """A document of so many levels, its own included."""
    pairs = (levels - 1) // (opening.count("[") + opening.count("{"))
    return f'{{"leaf": {{"name": "a"}}, "deep": {opening * pairs}0{closing * pairs}}}'.encode()


def test_a_good_document_is_read_into_its_type() -> None:
    assert read(b'{"leaf": {"name": "a"}}', Tree) == Tree(leaf=Leaf(name="a"))


def test_every_bad_field_is_reported_at_once_with_its_pointer() -> None:
    document = """{
        "leaf": {"name": "long", "count": "x"},
        "leaves": [{"name": "a"}, {"count": 1}],
        "names": {"a/b~c": "long", "ok": "b"},
        "either": [],
        "maybe": "x"
    }"""
    assert problems(document) == [
        ("/either", "must be a number or a text"),
        ("/leaf/count", "is wrong: expected int, got str"),
        ("/leaf/name", "must be at most 3 characters"),
        ("/leaves/1/name", "is required"),
        ("/maybe", "is wrong: expected int | null, got str"),
        ("/names/a~1b~0c", "must be at most 3 characters"),
    ]


@pytest.mark.parametrize("document", ["null", "[]", "5", "1.5", "true", '"text"', "  []  "])
def test_a_document_that_is_no_object_is_one_problem_at_the_root(document: str) -> None:
    assert problems(document) == [("", "must be an object")]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ('{"leaf": 5}', ("/leaf", "must be an object")),
        ('{"leaf": {"name": "a"}, "leaves": {}}', ("/leaves", "must be a list")),
        ('{"leaf": {"name": "a"}, "leaves": [5]}', ("/leaves/0", "must be an object")),
        ('{"leaf": {"name": "a"}, "leaves": [null]}', ("/leaves/0", "must be an object")),
        ('{"leaf": {"name": "a"}, "names": []}', ("/names", "must be an object")),
        (
            '{"leaf": {"name": "a"}, "leaves": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}',
            ("/leaves", "must be a list of at most 2"),
        ),
    ],
)
def test_a_wrong_shape_is_named_where_it_stands(document: str, problem: tuple[str, str]) -> None:
    assert problems(document) == [problem]


def test_null_is_a_missing_field() -> None:
    given_null = b'{"leaf": {"name": "a", "count": null}, "leaves": null, "names": null, "either": null, "maybe": null}'
    assert read(given_null, Tree) == Tree(leaf=Leaf(name="a"))


def test_a_required_field_may_not_be_null() -> None:
    assert problems('{"leaf": {"name": null}}') == [("/leaf/name", "is required")]


def test_a_raw_field_keeps_the_senders_own_characters() -> None:
    tree = read(b'{"raw": {"a":1.10,  "b":1e400}, "leaf": {"name": "a"}, "maybe": null}', Tree)
    assert bytes(tree.raw) == b'{"a":1.10,  "b":1e400}'


def test_of_a_key_that_stands_twice_the_last_counts() -> None:
    assert read(b'{"leaf": {"name": "a"}, "leaf": {"name": "b"}}', Tree).leaf.name == "b"
    assert read(b'{"leaf": 5, "leaf": {"name": "b"}}', Tree).leaf.name == "b"
    assert problems('{"leaf": {"name": "a"}, "leaf": 5}') == [("/leaf", "must be an object")]


def test_unknown_fields_are_accepted_or_refused_with_the_nearest_known_name() -> None:
    document = b'{"leaf": {"name": "a", "kount": 1}, "zzzzzz": 5}'
    assert read(document, Tree) == Tree(leaf=Leaf(name="a"))
    assert problems(document, unknown="refuse") == [
        ("/leaf/kount", "is not a known key; did you mean 'count'?"),
        ("/zzzzzz", "is not a known key; known here: leaf, leaves, names, either, maybe, raw"),
    ]


def test_rules_are_asked_of_a_half_read_value_too() -> None:
    def rules(tree: Tree) -> Iterator[Problem]:
        assert tree.leaf is None
        yield Problem("/rule", "is broken")

    assert problems('{"leaf": 5}', rules=rules) == [("/leaf", "must be an object"), ("/rule", "is broken")]


def test_rules_alone_can_refuse() -> None:
    assert problems('{"leaf": {"name": "a"}}', rules=lambda _: iter([Problem("/x", "is y")])) == [("/x", "is y")]


def test_so_many_problems_are_reported_and_no_more() -> None:
    document = b'{"leaf": {"name": "a"}, "names": {%s}}'
    bad = [b'"%d": "long"' % number for number in range(MAX_PROBLEMS * 3)]
    assert len(problems(document % b",".join(bad[:800]))) == 800
    found = problems(document % b",".join(bad))
    size = len(msgspec.json.encode([Problem(*each) for each in found]))
    assert MAX_PROBLEM_BYTES - 100 < size <= MAX_PROBLEM_BYTES


def test_of_short_ones_a_thousand_are_reported() -> None:
    assert len(problems(b'{"leaf": {"name": "a"}, "leaves": [%s]}' % b",".join([b"5"] * 3000))) == MAX_PROBLEMS


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        (r"\ud800", "\ufffd"),
        (r"\udfff", "\ufffd"),
        (r"\uD83D\uDE00", "\U0001f600"),
        (r"\ud83d\ude00\ude00", "\U0001f600\ufffd"),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\ude00\ud83d", "\ufffd\ufffd"),
        (r"\\ud800", r"\ud800"),
        (r"\\\ud800", "\\\ufffd"),
        (r"\\\\ud800\n", "\\\\ud800\n"),
        (r"\ud83d\\ude00", "\ufffd\\ude00"),
        (r"\ud83dx\ude00", "\ufffdx\ufffd"),
        (r"\udaffé\u0000", "\ufffdé\0"),
    ],
)
def test_a_lone_surrogate_is_read_as_the_replacement_character(written: str, read_as: str) -> None:
    class Text(msgspec.Struct):
        text: str

    assert read(f'{{"text": "{written}"}}'.encode(), Text).text == read_as


@given(st.lists(st.sampled_from(["\\", "\\\\", "u", "d83d", "de00", "\\ud83d", "\\ude00", '\\"', "x"]), max_size=12))
def test_lone_surrogates_are_found_as_python_s_own_decoder_finds_them(parts: list[str]) -> None:
    document = '["' + "".join(parts) + '"]'
    try:
        (expected,) = json.loads(document)
    except json.JSONDecodeError:
        return
    expected = expected.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    expected = "".join("\ufffd" if "\ud800" <= each <= "\udfff" else each for each in expected)
    (found,) = json.loads(without_lone_surrogates(document.encode()))
    assert found == expected


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b" ",
        b"{",
        b"{} x",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 01}',
        b'{"a": 1,}',
        b'{"a": "\n"}',
        b'{"a": "\\ud80"}',
        b'{"a": "\\ud800\0"}',
        b'{"a": "\\x"}',
        b"\xff",
        b'{"a": "\xed\xa0\x80"}',
        b"\xef\xbb\xbf{}",
        b'{"leaf": 5, "a": NaN}',
        b'{"leaf": {"name": "long"}',
    ],
)
def test_what_is_no_json_is_malformed(document: bytes) -> None:
    with pytest.raises(Malformed):
        read(document, Tree)


class TestDepth:
    @pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
    def test_the_bound_is_on_both_sides_of_its_edge(self, opening: str, closing: str) -> None:
        assert MAX_DEPTH == 64
        assert read(nested(64, opening=opening, closing=closing), Tree).leaf.name == "a"
        with pytest.raises(Malformed, match="64 levels"):
            read(nested(65, opening=opening, closing=closing), Tree)

    @pytest.mark.parametrize(("opening", "closing"), [('[{"a":', "}]"), ('{"a":[', "]}")])
    def test_lists_in_objects_count_both(self, opening: str, closing: str) -> None:
        assert read(nested(63, opening=opening, closing=closing), Tree).leaf.name == "a"
        with pytest.raises(Malformed, match="64 levels"):
            read(nested(65, opening=opening, closing=closing), Tree)

    @pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":', "[[],"])
    def test_a_hundred_thousand_levels_are_refused_like_sixty_five(self, opening: str) -> None:
        with pytest.raises(Malformed, match="64 levels"):
            read(opening.encode() * 100_000, Tree)

    @pytest.mark.parametrize("text", ["[" * 500, "{" * 500, r"\"[[[" * 200, "]" * 500, r"\\\\" + "[" * 90])
    def test_brackets_inside_strings_do_not_count(self, text: str) -> None:
        read(f'{{"leaf": {{"name": "a"}}, "x": "{text}", "{text}": 1}}'.encode(), Tree)

    def test_brackets_side_by_side_do_not_add_up(self) -> None:
        read(b'{"leaf": {"name": "a"}, "x": [' + b"[],{}," * 1000 + b"[]]}", Tree)

    def test_a_string_without_an_end_hides_nothing(self) -> None:
        with pytest.raises(Malformed):
            read(b'{"a": "' + b"[" * 100, Tree)

    @pytest.mark.timeout(20)
    @pytest.mark.parametrize(
        "document",
        [
            b'{"a":' + b"[" * 70 + b'"' + b'\\"' * 500_000,
            b'{"a":' + b"[" * 70 + b'"' + b"\\" * 1_000_001,
            b'{"a":' + b"[" * 70 + b'""' * 500_000,
            b"[" * 2_000_000,
            b"[]" * 1_000_000,
            b"[}" * 1_000_000,
        ],
        ids=["escaped quotes", "backslashes", "empty strings", "openings", "pairs", "mismatches"],
    )
    def test_no_document_takes_long_to_measure(self, document: bytes) -> None:
        with pytest.raises(OrchestratorError):
            read(document, Tree)

    @given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=200))
    def test_what_python_can_read_is_measured_alike(self, value: Any) -> None:
        document = f'{{"leaf": {{"name": "a"}}, "x": {json.dumps(value)}}}'.encode()
        if 1 + _depth(value) > MAX_DEPTH:
            with pytest.raises(Malformed):
                read(document, Tree)
        else:
            read(document, Tree)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("item", [b"{}", b"5", b'{"name":null}', b'{"name":"a","count":null}'])
def test_thousands_of_bad_or_odd_items_are_answered_soon(item: bytes) -> None:
    items = b",".join([item] * (100_000 // len(item)))
    with pytest.raises(Invalid):
        read(b'{"leaf": 5, "leaves": [' + items + b"]}", Tree)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_our_errors(document: bytes) -> None:
    with pytest.raises(OrchestratorError):
        read(document, Tree)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["leaf", "leaves", "names", "either", "maybe", "raw", "name"]), inner)
        ),
    )
)
def test_no_json_raises_anything_but_our_errors(value: Any) -> None:
    try:
        tree = read(json.dumps(value).encode(), Tree)
    except OrchestratorError:
        return
    assert isinstance(tree, Tree)
    assert isinstance(tree.leaf, Leaf)
