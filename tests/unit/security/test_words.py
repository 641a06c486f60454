"""runner.security.words: no pattern would find anything in a text that has none of its words."""

from __future__ import annotations

import pytest

from runner.security import credentials, logins, names, next_lines
from runner.security.masking import mask
from runner.security.words import has_any, has_in_any_case
from tests.security.test_masking import NAMED, SECRET, STAYS, TOKENS, URLS

MORE = [
    *("api_token\tx1y2z3q9", "pswd=x1y2z3q9", "client_assertion=x1y2z3q9", "masterauth x1y2z3q9"),
    *('PASSWORD\t"x1y2z3"', "PASSWORD\t'x1y2z3'", 'PASSWORD \\"x1y2z3\\"', 'PASSWORD\t\\"x1y2z3\\"'),
    *('"gitlab-token": {"a.example": "x1y2z3"}', '"bearer": {"a.example": "x1y2z3"}'),
    *(f"a.example\t{flag}\t/\t{flag}\t0\tname\tx1y2z3" for flag in ("TRUE", "FALSE")),
]
"""What the other tests have in one form only."""


@pytest.mark.parametrize("case", [str, str.upper, str.title], ids=["as it is", "in capitals", "as a title"])
@pytest.mark.parametrize("text", [*NAMED, *STAYS, *URLS, *TOKENS.values(), *MORE])
def test_a_search_that_is_left_out_would_find_nothing(
    text: str, case: type[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [case(place.replace("{}", text)) for place in ("{}", f"see {SECRET} or ſ: {{}}", "one\n{}\ntwo", '"{}"')]
    masked = [mask(each) for each in texts]
    for module in (credentials, logins, next_lines):
        monkeypatch.setattr(module, "has_any", lambda *_: True)
    for module in (credentials, names):
        monkeypatch.setattr(module, "has_in_any_case", lambda *_: True)
    assert masked == [mask(each) for each in texts]


def test_words_are_searched_as_they_are_written() -> None:
    assert has_any("a token", ("secret", "token"))
    assert not has_any("a TOKEN", ("secret", "token"))


def test_case_is_ignored_as_a_pattern_ignores_it() -> None:
    assert has_in_any_case("a TOKEN", ("token",))
    assert not has_in_any_case("nothing", ("token",))
    assert has_in_any_case("paſſword", ("token",)), "which re.IGNORECASE reads as password"
