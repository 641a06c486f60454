"""Finds credentials within a line of text: in URLs, in headers, beside a name, by their shape, as long base64.

Each function gives offsets (start, end). The time is linear: patterns are searched without overlap, and what follows a
find is read once. Where the text is a line of JSON, no span contains a double quote or half an escape.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from runner.security import command_lines, hexadecimal, logins, next_lines, shapes
from runner.security.names import LIKE_A_SECRET, NAME, following_names
from runner.security.placeholders import is_placeholder, is_state_or_type
from runner.security.shapes import Span, run_end
from runner.security.words import has_any, has_in_any_case

_TRAILING = "\\'),.;:]}|"
"""At the end of a value, these are not part of it. The backslash escapes the quote of a JSON string inside JSON."""

_MASKED = "***"


def spans(text: str) -> Iterator[Span]:
    """Everything in `text` that looks like a credential, in no order."""
    yield from _in_urls(text)
    yield from logins.spans(text)
    yield from command_lines.spans(text)
    yield from _named(text)
    yield from _in_headers(text)
    yield from shapes.tokens(text)
    yield from shapes.long_base64(text)
    yield from hexadecimal.spans(text)
    yield from next_lines.spans(text)


# A URL's beginning, also with escaped slashes, as PHP writes them into JSON; or // with a user and a password.
_URL = re.compile(r':\\*/\\*/|(?:(?<![:/\w])|(?<=\\[nrt]))//(?=[^/\s"@:]*:[^/\s"@]*@)')
_AUTHORITY = re.compile(r'[^/\s"]*')
_URL_END = re.compile(r'[^\s"<>`]*')


def _in_urls(text: str) -> Iterator[Span]:
    """User and password, with any characters in either, and the whole query: its names say little, its values sign."""
    end = login = 0
    for begin in _URL.finditer(text) if has_any(text, ("//", "/\\")) else ():
        start = begin.end()
        if start > end:  # a URL may contain others, which end where it ends
            end = run_end(_URL_END, text, start)
            query = text.find("?", start, end)
            login = text.rfind("@", start, end if query < 0 else query)
            if query >= 0:
                yield query + 1, end - _trailing(text, query + 1, end)
        authority = run_end(_AUTHORITY, text, start)
        at = text.rfind("@", start, authority)
        if at < 0 and _has_password(text[start:authority]):  # a slash in the password
            at = login
        if at > start and text[start:at] != "git":  # everybody's user, with a key
            yield start, at


def _has_password(authority: str) -> bool:
    """Whether what follows the colon is no port."""
    _, colon, port = authority.partition(":")
    return bool(colon) and not port.isdigit() and not authority.startswith("[")


_SEPARATOR = re.compile(
    r"(?P<quoted>\\*[\"']\]?|\](?=[ \t]=>))?(?:(?:,|[ \t]?:[ \t]?\{)[ \t]?\\*[\"']value\\*[\"']|,?[ \t]value)?"
    r"(?:[ \t\xa0]{0,32}|[.]{2,64})"
    r"(?P<sign>(?<=[ \t])(?:is|was)(?=[ :]):?"
    r"|=>|:=|==?|:|->|%(?:25)?3[AD]|\\{1,8}u003[ad]|&#(?:58|61);|(?(quoted),|(?!)))(?:[ \t]|\\t){0,16}",
    re.IGNORECASE,
)
_OF_PROSE = (":", "->")
"""What a sentence has as well, or a grammar: `token -> name`."""
_SPOKEN = re.compile(rf"[\"'`]?(?P<value>(?!\S*[-./:]\S){LIKE_A_SECRET})")
"""The value in a sentence, as in "the password is x1y2z3"; no name of a job or file."""
_OPENING = re.compile(r"(?:[ \t\[({]|b?\\*[\"']){0,8}")
_QUOTE = re.compile(
    r"(?:(?P<list>\[)[ \t]{0,4}|(?:Some|Just|Optional|Secret\w{0,8}|[Ss]tr(?:ing)?)?\([ \t]{0,4}"
    r"|string\([0-9]{1,6}\)[ \t])?(?:[bBrRuUfF]{1,2})?"
    r"(?P<escapes>\\*)(?P<mark>(?P<quote>[\"'`])(?:(?:(?P=escapes)(?P=quote)){2}(?=[^\s,;:}\])\\\\]))?)"
)
_NEXT_IN_LIST = re.compile(r"\\*[\"'],[ \t]{0,4}\\*[\"']")
_WORD = re.compile(r'[^\s"]*')
_NO_VALUES = frozenset({"", _MASKED, "~", "none", "null", "true", "false"})
_SCHEMES = frozenset(
    {*("basic", "bearer", "digest", "negotiate", "ntlm", "token", "apikey", "api-key", "aws4-hmac-sha256", "sharedkey")}
)


def _named(text: str) -> Iterator[Span]:
    """Values with a name that says what they are: `password=x`, `"token": "x"`, `Authorization: Basic x`."""
    read = 0
    for name, separator in following_names(text, _SEPARATOR):
        if name.start() < read:
            continue
        quote = _opening_quote(text, name, separator)
        if quote is not None:
            for start, read in _strings(text, quote):
                yield from (each for each in _value(text, start, read) if not is_state_or_type(text[slice(*each)]))
            continue
        found = _unquoted(text, name, separator)
        if found is not None:
            start, read = found
            yield from (each for each in _value(text, start, read) if not is_placeholder(text[slice(*each)]))


def _opening_quote(text: str, name: re.Match[str], separator: re.Match[str]) -> re.Match[str] | None:
    """The quote that begins the value; None where the value has none."""
    if name["header"] or separator["sign"] == "," or _is_spoken(separator):
        return None
    quote = _QUOTE.match(text, separator.end())
    if quote and separator["quoted"] is None and text.startswith((",", "}", "]"), quote.end()):
        return None
    return quote


def _is_spoken(separator: re.Match[str]) -> bool:
    return separator["sign"][:2].lower() in ("is", "wa")


def _strings(text: str, quote: re.Match[str]) -> Iterator[Span]:
    """The quoted value, or all values of a list of strings."""
    following: re.Match[str] | None = quote
    while following:
        start = following.end()
        end = _string_end(text, start, len(quote["escapes"]), quote["quote"])
        yield start, end
        following = _NEXT_IN_LIST.match(text, end) if quote["list"] else None


def _unquoted(text: str, name: re.Match[str], separator: re.Match[str]) -> Span | None:
    """The value without quotes, or that of a header; None where there is none."""
    start = separator.end()
    if name["header"]:
        return None if _is_spoken(separator) else _header_value(text, start, name["header"].lower())
    if separator["sign"] == ",":  # a list of names
        return None
    if _is_spoken(separator):
        spoken = _SPOKEN.match(text, start)
        return spoken.span("value") if spoken else None
    if separator["sign"] not in _OF_PROSE:
        return start, run_end(_WORD, text, start)
    end = 0 if separator["quoted"] else _yaml_end(text, name.start(), start)
    return (start, end) if end else None


def _value(text: str, start: int, end: int) -> Iterator[Span]:
    """The value in text[start:end], unless it is empty or says that there is none."""
    end -= _trailing(text, start, end)
    if text[start:end].lower() not in _NO_VALUES:
        yield start, end


_LINE_BEGIN = re.compile(r'(?:\A|\n|\\n|")[ \t]*(?:- )?[\w.-]*\Z')
_YAML_WORD = re.compile(r'[^\s"\\,;{}\[\]]{1,512}')
_LINE_END = re.compile(r'[ \t]*(?:#|\\|"|\r|\n|\Z)')
_LIKE_A_SECRET = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])(?![./~]).{6}")


def _yaml_end(text: str, name: int, start: int) -> int:
    """Where the value after `name: ` ends; 0 for prose, as in "the token: it is missing".

    A value is a word that ends a line which the name begins, as in YAML; or one with letters and digits.
    """
    found = _YAML_WORD.match(text, start)
    if not found or is_placeholder(found[0]):
        return 0
    before = text[max(0, name - 80) : name]
    ends = _LINE_END.match(text, found.end()) and _LINE_BEGIN.search(before if name <= 80 else f".{before}")
    return found.end() if ends or _LIKE_A_SECRET.match(found[0]) else 0


def _header_value(text: str, start: int, name: str) -> Span | None:
    """The value of a header, without the scheme. A cookie's goes to the end of the line.

    None where another header follows, as in a list of names and values under a header's name.
    """
    start = run_end(_OPENING, text, start)
    inner = NAME.match(text, start)
    if inner and inner["header"] and _SEPARATOR.match(text, inner.end()):
        return None
    end = run_end(_WORD, text, start)
    if name.startswith("cookie"):
        return start, _quoted_end(text, start, '"')
    if not name.endswith(("authorization", "-auth")):
        return start, end
    word = text[start:end].lower()
    if word in _SCHEMES:
        start = _spaces(text, end)
        end = run_end(_WORD, text, start)
    elif word.isalpha():
        end = run_end(_WORD, text, _spaces(text, end))
    while end > start and text[end - 1] == ",":  # parameters, as in Digest
        following = run_end(_WORD, text, _spaces(text, end))
        if following == end:
            break
        end = following
    return start, end


def _string_end(text: str, start: int, escapes: int, quote: str) -> int:
    """Where a quoted value ends. So many backslashes precede its quote; a quote within it has others before it."""
    if quote != '"':
        return _quoted_end(text, start, quote)
    at = start
    while True:
        at = _quoted_end(text, at, quote)
        backslashes = 0
        while at - backslashes > start and text[at - backslashes - 1] == "\\":
            backslashes += 1
        if not text.startswith('"', at) or backslashes < escapes or backslashes % (2 * escapes + 2) == escapes:
            return at
        at += 1


def _quoted_end(text: str, start: int, quote: str) -> int:
    """Where the value ends: at its quote, at a double quote, or with the line."""
    return run_end(_TO_QUOTE[quote], text, start)


_TO_QUOTE = {"`": re.compile('[^`"\n]*'), "'": re.compile("[^'\"\n]*"), '"': re.compile('[^"\n]*')}
_SCHEME = re.compile(r"\b(?:bearer|basic)[ \t]{1,4}([A-Za-z0-9._~+/=-]+)", re.IGNORECASE)
_WITH_PARAMETERS = re.compile(r"authorization\W{1,8}[A-Za-z0-9-]{1,32}[ \t]{1,4}(?=\w{1,64}=)", re.IGNORECASE)
_PARAMETER = re.compile(r"\w{1,64}=(?:\\*\"(?P<quoted>[^\"\\\n]*)\\*\"|[^\s\",]*)(?:,[ \t]*)?")


def _in_headers(text: str) -> Iterator[Span]:
    """What follows a scheme without its header's name, and quoted parameters after a scheme, as Digest has them.

    A word in prose has no digit, or is short.
    """
    if not has_in_any_case(text, ("bearer", "basic", "authorization")):
        return
    for found in _SCHEME.finditer(text):
        if len(found[1]) >= 16 and any(map(str.isdigit, found[1])):
            yield found.span(1)
    for scheme in _WITH_PARAMETERS.finditer(text):
        at = scheme.end()
        while parameter := _PARAMETER.match(text, at):
            at = parameter.end()
            if parameter["quoted"]:
                yield parameter.span("quoted")


def _spaces(text: str, start: int) -> int:
    while start < len(text) and text[start] in " \t":
        start += 1
    return start


def _trailing(text: str, start: int, end: int) -> int:
    """How many characters at the end of a value are not part of it."""
    value = text[start:end]
    return len(value) - len(value.rstrip(_TRAILING))
