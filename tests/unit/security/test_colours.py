"""runner.security.colours: escape sequences hide no secret."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.security.colours import Plain
from runner.security.masking import mask, shown

RED, RESET = "\x1b[01;31m", "\x1b[m\x1b[K"


@pytest.mark.parametrize(
    "text",
    [
        f"password={RED}hunter2{RESET}",
        f"pass{RED}word{RESET}=hunter2",
        f"{RED}token{RESET}: {RED}hunter2{RESET}",
        f"Authorization:{RESET} Bearer {RED}hunter2",
        f"https://user:{RED}hunter2{RESET}@git.example/x",
        f"password=hun{RED}ter2",
        "\\u001b[33mtoken\\u001b[39m=hunter2",
        "\\x1b[33mtoken\\x1b[39m=hunter2",
    ],
)
def test_what_is_coloured_is_masked(text: str) -> None:
    for masked in (mask(text), shown(text)):
        assert not {"hunter2", "ter2"} & set(Plain(masked).text.replace("@", "=").split("="))
        assert "hunter2" not in Plain(masked).text


def test_a_coloured_line_of_json_stays_json() -> None:
    line = json.dumps({"a": f"{RED}token{RESET}={RED}hunter2{RESET} next", "b": 1})
    assert json.loads(mask(line)) == {"a": f"{RED}token{RESET}={RED}***{RESET} next", "b": 1}


@given(st.lists(st.sampled_from([RED, RESET, "a", "b", "\ufffd[0m", "[", "\x1b"])))
def test_offsets_are_those_of_the_original(parts: list[str]) -> None:
    text = "".join(parts)
    plain = Plain(text)
    every = list(plain.spans((at, at + 1) for at in range(len(plain.text))))
    assert "".join(text[start:end] for start, end in every) == plain.text
    assert not list(plain.spans([(0, 0)]))
