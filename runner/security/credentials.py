"""Finds credentials within a line of text: in URLs, in headers, beside a name, by their shape, as long base64.

Each function gives offsets (start, end). The time is linear: patterns are searched without overlap, and what follows a
find is read once. Where the text is a line of JSON, no span contains a double quote or half an escape.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]

INLINE_RUN = 96
"""Characters of base64 within a line that are masked. A SHA-512 has 88."""

_TRAILING = "\\'),.;:]}|"
"""At the end of a value, these are not part of it. The backslash escapes the quote of a JSON string inside JSON."""

_MASKED = "***"


def spans(text: str) -> Iterator[Span]:
    """Everything in `text` that looks like a credential, in no order."""
    yield from _in_urls(text)
    yield from _named(text)
    yield from _in_headers(text)
    yield from _tokens(text)
    yield from _base64(text)


# A URL's beginning, also with escaped slashes, as PHP writes them into JSON; or // with a user and a password.
_URL = re.compile(r':\\*/\\*/|(?:(?<![:/\w])|(?<=\\[nrt]))//(?=[^/\s"@:]*:[^/\s"@]*@)')
_AUTHORITY = re.compile(r'[^/\s"]*')
_URL_END = re.compile(r'[^\s"<>`]*')


def _in_urls(text: str) -> Iterator[Span]:
    """User and password, with any characters in either, and the whole query: its names say little, its values sign."""
    end = login = 0
    for begin in _URL.finditer(text):
        start = begin.end()
        if start > end:  # a URL may contain others, which end where it ends
            end = _end(_URL_END, text, start)
            query = text.find("?", start, end)
            login = text.rfind("@", start, end if query < 0 else query)
            if query >= 0:
                yield query + 1, end - _trailing(text, query + 1, end)
        authority = _end(_AUTHORITY, text, start)
        at = text.rfind("@", start, authority)
        if at < 0 and _has_password(text[start:authority]):  # a slash in the password
            at = login
        if at > start:
            yield start, at


def _has_password(authority: str) -> bool:
    """Whether what follows the colon is no port."""
    _, colon, port = authority.partition(":")
    return bool(colon) and not port.isdigit() and not authority.startswith("[")


_NAME = re.compile(
    r"(?P<header>(?:proxy-)?authorization|cookie|[-]token|[-]api-?key)"
    r"|(?P<plain>token|passw(?:or)?d|passphrase|secret|credentials?|(?:api|access|private|account|signing)[_-]?key"
    r"|signature|\bsig)",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(r"(?P<quoted>\\*[\"'])?[ \t]{0,4}(?P<sign>[:=])[ \t]{0,4}")
_OPENING = re.compile(r"(?:[ \t\[({]|\\*[\"']){0,8}")
_QUOTE = re.compile(r"\\*([\"'])")
_WORD = re.compile(r'[^\s"]*')
_NO_VALUES = frozenset({"", _MASKED, "none", "null", "true", "false"})
_SCHEMES = frozenset(
    {*("basic", "bearer", "digest", "negotiate", "ntlm", "token", "apikey", "api-key", "aws4-hmac-sha256", "sharedkey")}
)


def _named(text: str) -> Iterator[Span]:
    """Values with a name that says what they are: `password=x`, `"token": "x"`, `Authorization: Basic x`."""
    read = 0
    for name in _NAME.finditer(text):
        separator = _SEPARATOR.match(text, name.end())
        if name.start() < read or not separator:
            continue
        quote = _QUOTE.match(text, separator.end())
        if name["header"]:
            start, read = _header_value(text, separator.end(), name[0].lower())
        elif quote:
            start, read = quote.end(), _quoted_end(text, quote.end(), quote[1])
        elif separator["sign"] == "=":
            start, read = separator.end(), _end(_WORD, text, separator.end())
        else:  # prose: "the token: it is missing"
            continue
        end = read - _trailing(text, start, read)
        if text[start:end].lower() not in _NO_VALUES:
            yield start, end


def _header_value(text: str, start: int, name: str) -> Span:
    """The value of a header, without the scheme. A cookie's goes to the end of the line."""
    start = _end(_OPENING, text, start)
    end = _end(_WORD, text, start)
    if name == "cookie":
        return start, _quoted_end(text, start, '"')
    if not name.endswith("authorization"):
        return start, end
    word = text[start:end].lower()
    if word in _SCHEMES:
        start = _spaces(text, end)
        end = _end(_WORD, text, start)
    elif word.isalpha():
        end = _end(_WORD, text, _spaces(text, end))
    while end > start and text[end - 1] == ",":  # parameters, as in Digest
        following = _end(_WORD, text, _spaces(text, end))
        if following == end:
            break
        end = following
    return start, end


def _quoted_end(text: str, start: int, quote: str) -> int:
    """Where the value ends: at its quote, at a double quote, or with the line."""
    return _end(_TO_QUOTE[quote], text, start)


_TO_QUOTE = {"'": re.compile("[^'\"\n]*"), '"': re.compile('[^"\n]*')}
_SCHEME = re.compile(r"\b(?:bearer|basic)[ \t]{1,4}([A-Za-z0-9._~+/=-]+)", re.IGNORECASE)


def _in_headers(text: str) -> Iterator[Span]:
    """What follows a scheme without its header's name. A word in prose has no digit, or is short."""
    for found in _SCHEME.finditer(text):
        if len(found[1]) >= 16 and any(map(str.isdigit, found[1])):
            yield found.span(1)


_DISTINCT = (
    *("gh[pousr]_", "github_pat_", "gl(?:pat|ptt|dt|rt|soat|cbt|ft|imt|agent|oas|ffct)-", "xox[a-z]-", "xapp-"),
    *("AIza", "GOCSPX-", r"ya29\.", "npm_", "pypi-", "dckr_pat_", "dop_v1_", "shp(?:at|ca|pa|ss)_", "rubygems_"),
    *("sk_live_", "rk_live_", "sk_test_", "whsec_", "glsa_", "glc_", "lin_api_", "ATATT3x", "AGE-SECRET-KEY-1"),
    *(r"hooks\.slack\.com/services/", r"discord\.com/api/webhooks/", r"\.atlasv1\.", "dsp_"),
)
_AMBIGUOUS = (r"hv[sbr]\.", "hf_", "sk-", r"SG\.", "NRAK-", "pul-")
"""Prefixes that also end words. What precedes may be an escaped line feed."""

_PREFIX = re.compile(rf"(?:{'|'.join(_DISTINCT)}|(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))(?:{'|'.join(_AMBIGUOUS)}))(?=[\w-])")
_REST = re.compile(r"[A-Za-z0-9_./+=-]*")
_AWS = re.compile(r"(?:AKIA|ASIA|ABIA)[A-Z0-9]{16}")
SHORTEST_REST = 16
"""Characters of a token after its prefix. Documentation has shorter ones."""


def _tokens(text: str) -> Iterator[Span]:
    """Tokens of well-known services, and JWTs."""
    read = 0
    for prefix in _PREFIX.finditer(text):
        if prefix.start() < read:
            continue
        read = _end(_REST, text, prefix.end())
        read -= len(text[prefix.end() : read]) - len(text[prefix.end() : read].rstrip("./"))
        rest = text[prefix.end() : read]
        if len(rest) >= SHORTEST_REST and (any(map(str.isdigit, rest)) or not (rest.islower() or "-" in rest)):
            yield prefix.start(), read
    yield from (found.span() for found in _AWS.finditer(text))
    yield from _jwts(text)


_JWT_PART = re.compile(r"[A-Za-z0-9_=+/-]+")
_JWT_PARTS = re.compile(r"\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*){0,2}")
LONG_JSON = 20
"""Characters of base64 that begin with `{"` and are masked without a second part: a registry's login, say."""


def _jwts(text: str) -> Iterator[Span]:
    at = text.find("eyJ")
    while at >= 0:
        end = _end(_JWT_PART, text, at)
        if parts := _JWT_PARTS.match(text, end):
            end = parts.end()
            yield at, end
        elif end - at >= LONG_JSON and any(map(str.isdigit, text[at:end])):
            yield at, end
        at = text.find("eyJ", end)


_BASE64 = re.compile(rf"[A-Za-z0-9+/\\_-]{{{INLINE_RUN},}}={{0,2}}")
_MIXED = re.compile(r"(?=[A-Z][A-Z0-9]|[0-9][A-Za-z]|[a-z][0-9])")


def _base64(text: str) -> Iterator[Span]:
    for run in _BASE64.finditer(text):
        if scrambled(run[0]):
            yield run.start(), run.end() - (len(run[0]) - len(run[0].rstrip("\\")))


def scrambled(run: str) -> bool:
    """Whether characters of base64 look like random bytes: both cases, and pairs that words seldom have.

    Such a pair is two capitals, or a digit beside a letter. Random base64 has 41 of them in 100 characters; one in 8 is
    asked for (measured; none of 300,000 random bodies of 96 was missed). Checksums have one case, and paths and names
    in camelCase have few such pairs.
    """
    size = len(run)
    capitals, small = sum(map(str.isupper, run)), sum(map(str.islower, run))
    return min(capitals, small) * 8 >= size and len(_MIXED.findall(run)) * 8 >= size


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Where the run that begins at `start` ends; `start` itself where there is none."""
    found = pattern.match(text, start)
    return found.end() if found else start


def _spaces(text: str, start: int) -> int:
    while start < len(text) and text[start] in " \t":
        start += 1
    return start


def _trailing(text: str, start: int, end: int) -> int:
    """How many characters at the end of a value are not part of it."""
    value = text[start:end]
    return len(value) - len(value.rstrip(_TRAILING))
