"""Finds credentials within a line of text: in URLs, in headers, beside a name, by their shape, as long base64.

Each function gives offsets (start, end). The time is linear: patterns are searched without overlap, and what follows a
find is read once. Where the text is a line of JSON, no span contains a double quote or half an escape.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from runner.security import shapes
from runner.security.shapes import Span, run_end

_TRAILING = "\\'),.;:]}|"
"""At the end of a value, these are not part of it. The backslash escapes the quote of a JSON string inside JSON."""

_MASKED = "***"


def spans(text: str) -> Iterator[Span]:
    """Everything in `text` that looks like a credential, in no order."""
    yield from _in_urls(text)
    yield from _logins(text)
    yield from _named(text)
    yield from _in_headers(text)
    yield from shapes.tokens(text)
    yield from shapes.long_base64(text)


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
            end = run_end(_URL_END, text, start)
            query = text.find("?", start, end)
            login = text.rfind("@", start, end if query < 0 else query)
            if query >= 0:
                yield query + 1, end - _trailing(text, query + 1, end)
        authority = run_end(_AUTHORITY, text, start)
        at = text.rfind("@", start, authority)
        if at < 0 and _has_password(text[start:authority]):  # a slash in the password
            at = login
        if at > start:
            yield start, at


_SLASHES = r"(?:%3A|:|\\{1,8}u003a)(?:(?:%2F){2}|(?:\\{1,8}u002f){2})"
_AT = r"(?:%40|@|\\{1,8}u0040)"
_LOGINS = tuple(
    re.compile(pattern)
    for pattern in (
        # Of a URL that is itself part of a URL, or whose slashes JSON escapes.
        rf"(?i:{_SLASHES})(?P<login>(?:(?!%2[Ff])[^\s\"'/&@\\]){{1,512}}?){_AT}",
        # Of curl, wget and others: `-u user:password`, `--password word`.
        r"-(?<!\S-)(?:[uU]|-user|-proxy-user)[ =]?[\"']?[\w.@%+-]{1,128}:(?P<login>[^\s\"']+)",
        r"-(?<!\S-)-?(?:[A-Za-z]+-)*(?i:token|passw(?:or)?d|passphrase|secret|api-?key|cookie)"
        r"[ \t]{1,4}(?P<login>[^\s\"'-][^\s\"']*)",
        # Of a .netrc, and of XML.
        r"login[ \t]+[^\s\"]+[ \t]+password[ \t]+(?P<login>[^\s\"]+)",
        r"<[\w.:-]{0,64}(?i:password|token|secret|passphrase|api-?key)>(?P<login>[^<\s\"]+)<",
    )
)
"""Logins in other forms than a URL's own."""


# What follows the @ of an image or of a package is no host's name.
_AT_HOST = re.compile(r"@(?:(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}(?![\w-])|tcp\()")
_BEFORE_AT = re.compile(r"(?<![\w.%+/:@-])(?!mailto:|sips?:)[\w.%+-]{1,128}:(?P<login>[^\s\"'/:@\\]{1,256})\Z")


def _logins(text: str) -> Iterator[Span]:
    """Passwords of logins that are not in a URL's own form, and of `user:password@host.example`."""
    for pattern in _LOGINS:
        yield from (found.span("login") for found in pattern.finditer(text))
    for at in _AT_HOST.finditer(text):
        if found := _BEFORE_AT.search(text, max(0, at.start() - 400), at.start()):
            yield found.span("login")


def _has_password(authority: str) -> bool:
    """Whether what follows the colon is no port."""
    _, colon, port = authority.partition(":")
    return bool(colon) and not port.isdigit() and not authority.startswith("[")


_NAME = re.compile(
    r"(?P<header>(?:proxy-)?authorization|cookies?|-(?:api|auth|access|subscription)-?key|-(?:auth|token|secret))"
    r"|(?P<plain>token|passw(?:or)?d|passphrase|secret|credentials?|signature|session[_-]?id|sessid"
    r"|(?:api|access|private|account|signing|encryption|master|license|session)[_-]?key"
    r"|sig(?<!\wsig)|jwt(?<![a-z]jwt)|pwd(?<![a-z]pwd)|pass(?<![a-z]pass)|(?:db|user|root|admin)(?:pwd|pass)"
    r"|auth(?<![a-z]auth)(?=\\*\"|[ \t]?=))"
    r"(?:[_-]?(?:key|base|value|hash|data|json|b64|base64|[0-9]{1,3}))*",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(
    r"(?P<quoted>\\*[\"'])?(?:,[ \t]?\\*[\"']value\\*[\"'])?[ \t]{0,4}"
    r"(?P<sign>=>|:=|==?|:|%3D|(?(quoted),|(?!)))[ \t]{0,4}",
    re.IGNORECASE,
)
_OPENING = re.compile(r"(?:[ \t\[({]|b?\\*[\"']){0,8}")
_QUOTE = re.compile(r"(?:[\[(][ \t]{0,4})?\\*([\"'])")
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
            start, read = _header_value(text, separator.end(), name["header"].lower())
        elif separator["sign"] == ",":  # a list of names
            continue
        elif quote and not (separator["quoted"] is None and text.startswith((",", "}", "]"), quote.end())):
            start, read = quote.end(), _string_end(text, quote.end(), len(quote[0].lstrip("[( \t")) - 1, quote[1])
        elif separator["sign"] != ":":
            start, read = separator.end(), run_end(_WORD, text, separator.end())
        elif separator["quoted"] or not (read := _yaml_end(text, name.start(), separator.end())):
            continue
        else:
            start = separator.end()
        end = read - _trailing(text, start, read)
        if text[start:end].lower() not in _NO_VALUES:
            yield start, end


_LINE_BEGIN = re.compile(r'(?:\A|\n|\\n|")[ \t]*(?:- )?[\w.-]*\Z')
_YAML_WORD = re.compile(r'[^\s"\\,;{}\[\]]{1,512}')
_LINE_END = re.compile(r'[ \t]*(?:#|\\|"|\r|\n|\Z)')
_STATES = frozenset(
    {*("absent", "denied", "empty", "expired", "forbidden", "incorrect", "invalid", "mismatch", "missing", "ok")}
    | {*("refused", "required", "revoked", "unauthorized", "unknown", "unset", "wrong")}
)
"""What an error says of a secret, as in "password: incorrect". It is nobody's secret worth keeping."""
_LIKE_A_SECRET = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])(?![./~]).{6}")


def _yaml_end(text: str, name: int, start: int) -> int:
    """Where the value after `name: ` ends; 0 for prose, as in "the token: it is missing".

    A value is a word that ends a line which the name begins, as in YAML; or one with letters and digits.
    """
    found = _YAML_WORD.match(text, start)
    if not found or found[0].rstrip(".!").lower() in _STATES:
        return 0
    before = text[max(0, name - 80) : name]
    ends = _LINE_END.match(text, found.end()) and _LINE_BEGIN.search(before if name <= 80 else f".{before}")
    return found.end() if ends or _LIKE_A_SECRET.match(found[0]) else 0


def _header_value(text: str, start: int, name: str) -> Span:
    """The value of a header, without the scheme. A cookie's goes to the end of the line."""
    start = run_end(_OPENING, text, start)
    end = run_end(_WORD, text, start)
    if name.startswith("cookie"):
        return start, _quoted_end(text, start, '"')
    if not name.endswith("authorization"):
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
    if quote == "'":
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


_TO_QUOTE = {"'": re.compile("[^'\"\n]*"), '"': re.compile('[^"\n]*')}
_SCHEME = re.compile(r"\b(?:bearer|basic)[ \t]{1,4}([A-Za-z0-9._~+/=-]+)", re.IGNORECASE)


def _in_headers(text: str) -> Iterator[Span]:
    """What follows a scheme without its header's name. A word in prose has no digit, or is short."""
    for found in _SCHEME.finditer(text):
        if len(found[1]) >= 16 and any(map(str.isdigit, found[1])):
            yield found.span(1)


def _spaces(text: str, start: int) -> int:
    while start < len(text) and text[start] in " \t":
        start += 1
    return start


def _trailing(text: str, start: int, end: int) -> int:
    """How many characters at the end of a value are not part of it."""
    value = text[start:end]
    return len(value) - len(value.rstrip(_TRAILING))
