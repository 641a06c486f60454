"""Finds logins in other forms than a URL's own and a name's: in .netrc, in tables, in SQL, in XML, in escaped URLs.

As in `credentials`, each function gives offsets (start, end), and the time is linear.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from runner.security.names import LIKE_A_SECRET, SECRET
from runner.security.placeholders import is_placeholder
from runner.security.shapes import Span
from runner.security.words import has_any

_SLASHES = r"(?:%(?:25){0,3}3A|:|\\{1,8}u003a)(?:(?:%(?:25){0,3}2F){2}|(?:\\{1,8}u002f){2})"
_AT = r"(?:%(?:25){0,3}40|@|\\{1,8}u0040)"
_VALUE = r"[\"']?(?P<login>[^\s\"'-][^\s\"']*)"
_LINE_BEGIN = r"(?:^|(?<=\")|(?<=\\n))"
_LINE_END = r"(?=[ \t]*(?:\\|\"|\r?$))"
_TAB = r"(?:\t|\\{1,8}t)"
_LOGINS = tuple(
    (words, re.compile(pattern))
    for words, pattern in (
        # Of a URL that is itself part of a URL, or whose slashes JSON escapes.
        (
            ("@", "40"),
            rf"(?i:{_SLASHES})(?P<login>(?:(?!%(?:25){{0,3}}2[Ff])[^\s\"'/&@\\]){{1,512}}?){_AT}",
        ),
        # Of a shell or a Dockerfile that puts a space between name and value.
        (
            ("set", "ENV"),
            rf"(?:setenv|set[ \t]-[a-z]{{1,3}}|ENV)[ \t]+\w{{0,64}}{SECRET}\w{{0,16}}[ \t]+{_VALUE}",
        ),
        # Of a .netrc, in one line or several.
        (
            ("password",),
            r"\b(?:machine|login|account)[ \t]+[^\s\"]+[ \t]+password[ \t]+(?P<login>[^\s\"]+)",
        ),
        (
            ("password",),
            r"(?m)^[ \t]*password[ \t]+(?P<login>(?=\S*[^a-z\s])[^\s\"]+)[ \t]*$",
        ),
        # Of tables; of SQL; of Redis' configuration; of Python's requests; of Composer's auth.json.
        (
            ("|", "\t", "  "),
            rf"(?m){_LINE_BEGIN}[ \t|]*[\w.-]{{0,64}}{SECRET}(?:[ \t]*\|[ \t]*|\t+|[ ]{{2,}})"
            rf"(?P<login>{LIKE_A_SECRET})",
        ),
        (
            (' "', " '", '\t"', "\t'", " \\", "\t\\"),
            r"[PpIi](?i:(?<=p)assword|(?<=i)dentified[ \t]by)(?:[ \t](?i:for)[ \t]\S{1,128}[ \t]?=)?[ \t]\\*[\"']"
            r"(?P<login>(?![,:}\]])[^'\"\n\\]{1,256})\\*[\"']",
        ),
        # Of git's prompt, and of curl's log, where a token may be the user.
        (
            ("assword for",),
            r"assword for \\*'[^'\"\n\\]{1,512}\\*':[ \t]+(?P<login>[^\s\"]+)",
        ),
        (
            ("auth using",),
            r"auth using \w{1,16} with user \\*'(?P<login>[^'\"\n\\]{1,512})",
        ),
        (
            ("requirepass", "masterauth"),
            r"(?:requirepass|masterauth)[ \t]+[\"']?(?P<login>[^\s\"']+)",
        ),
        (
            ("uth",),
            r"uth(?<=[aA]uth)(?:[ \t]?=[ \t]?)?\((?:\w{1,16}=)?\\*[\"'][^\"'\n\\]{0,128}\\*[\"'],"
            r"[ \t]?(?:\w{1,16}=)?\\*[\"'](?P<login>[^\"'\n\\]{1,256})",
        ),
        (
            ("-oauth", "-token", "bearer"),
            r"(?:git(?:hub|lab)-(?:oauth|token)|bearer)\\*\"[ \t]?:[ \t]?\{\s{0,16}\\*\"[\w.:-]{1,128}\\*\""
            r"[ \t]?:[ \t]?\\*\"(?P<login>[^\"\\\n]{1,256})",
        ),
        # Of SMTP and IMAP; of Redis, with or without a user.
        (
            ("AUTH",),
            r"AUTH(?<!\wAUTH)(?:ENTICATE)?[ \t](?:PLAIN|LOGIN|XOAUTH2|CRAM-MD5)[ \t](?P<login>[^\s\"]+)",
        ),
        (
            ("AUTH",),
            rf"(?m)AUTH(?<!\wAUTH)\\*\"?[ \t]+(?:[a-z][\w-]{{0,31}}[ \t]+)?\\*[\"']?(?P<login>{LIKE_A_SECRET})"
            rf"\\*[\"']?{_LINE_END}",
        ),
        # Of a file of cookies, as curl keeps them.
        (
            ("TRUE", "FALSE"),
            rf"(?:TRUE|FALSE){_TAB}/[^\t\n\\]{{0,256}}{_TAB}(?:TRUE|FALSE){_TAB}[0-9]{{1,16}}{_TAB}[^\t\n\\]{{1,256}}{_TAB}"
            r"(?P<login>[^\s\"]+)",
        ),
        # Of an environment: keys of services that no list has. A cache's key and a public one are read by people.
        (
            ("_KEY", "_SALT"),
            r"_(?:KEY(?<=[A-Z0-9]_KEY)(?<!PUBLIC_KEY)(?<!CACHE_KEY)|SALT(?<=[A-Z0-9]_SALT))"
            r"\\*[\"']?[ \t]?[=:][ \t]?\\*[\"']?"
            r"(?P<login>(?![/.~])(?=\S{0,64}[a-z])(?=\S{0,64}[A-Z])(?=\S{0,64}[0-9])[A-Za-z0-9+/_=-]{16,})",
        ),
        # Of XML, and of Oracle's JDBC driver.
        (
            ("<", "&lt;"),
            rf"(?:<|&lt;)[\w.:-]{{0,64}}{SECRET}(?:[ \t][^<>]{{0,256}})?(?:>|&gt;)(?:<!\[CDATA\[)?"
            r"(?P<login>[^<&\s\"\]]+)(?:<|&lt;|\]\])",
        ),
        (
            ("name=",),
            rf"name=\\*\"[\w.-]{{0,64}}{SECRET}\w{{0,16}}\\*\">(?P<login>[^<\s\"\\]{{1,512}})<",
        ),
        (
            ("<key>",),
            rf"<key>[\w.-]{{0,64}}{SECRET}\w{{0,16}}</key>(?:\s|\\[nrt]){{0,32}}<string>(?P<login>[^<\s\"\\]{{1,512}})<",
        ),
        (
            ("jdbc:oracle:",),
            r"jdbc:oracle:[a-z]{1,8}:[\w.$-]{1,64}/(?P<login>[^@\s\"]{1,256})@",
        ),
    )
)
"""Each with words of which it contains one: most texts do not."""

# What follows the @ of an image or of a package is no host's name.
_AT_HOST = re.compile(
    r"@(?:(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}(?![\w-])|tcp\(|localhost\b"
    r"|(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w-]))"
)
_BEFORE_AT = re.compile(r"(?<![\w.%+/:@-])(?!mailto:|sips?:)[\w.%+-]{1,128}:(?P<login>[^\s\"'/:@\\]{1,256})\Z")


def spans(text: str) -> Iterator[Span]:
    """Passwords of logins, in no order."""
    for words, pattern in _LOGINS:
        for found in pattern.finditer(text) if has_any(text, words) else ():
            if not is_placeholder(found["login"]):
                yield found.span("login")
    for at in _AT_HOST.finditer(text):
        if before := _BEFORE_AT.search(text, max(0, at.start() - 400), at.start()):
            yield before.span("login")
