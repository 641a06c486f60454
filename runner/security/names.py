"""Names that say that a value is secret: `password`, `DB_TOKEN`, `x-api-key`, `Authorization`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runner.security.words import has_in_any_case

_USERS_OF_PASS = (
    *(
        "db",
        "my",
        "api",
        "ssh",
        "sql",
        "ftp",
        "http",
        "smtp",
        "mail",
        "user",
        "root",
        "admin",
        "login",
        "proxy",
        "sudo",
    ),
    *(
        "ldap",
        "redis",
        "mongo",
        "mysql",
        "rabbit",
        "amqp",
        "store",
        "trust",
        "key",
        "become",
        "registry",
        "repo",
        "git",
    ),
    *("es", "pg", "postgres", "imap", "vnc", "wifi", "bind", "sasl", "auth", "service", "svc", "client", "server"),
)
"""What precedes `pass` or `pwd` in one word, as in SSHPASS. Other words end so as well: bypass, compass."""


def _abbreviated(name: str) -> str:
    """The name as a word of its own, or after one of those."""
    return rf"{name}(?:(?<![a-z]{name})|{'|'.join(f'(?<={user}{name})' for user in _USERS_OF_PASS)})"


SECRET = r"(?i:password|passwd|passphrase|token|secret|api[_-]?key|access[_-]?key|private[_-]?key)"  # noqa: S105
"""A pattern of the names that need no separator."""
LIKE_A_SECRET = r"(?=[^\s\"'|]{0,256}[0-9])(?=[^\s\"'|]{0,256}[A-Za-z])(?![./~])[^\s\"'|]{6,}"  # noqa: S105
"""A pattern of a value with letters and digits, where a word would be none."""

NAME = re.compile(
    # The first two letters of all that follow: most of a text is passed over at once.
    r"(?=[-abcdehjlmprst][abcdeilmnoprstuw])(?=-a[prsuc]|-[st]|a[cpu]|be|c[lor]|de|en|hm|jw|li|ma|p[arsw]|s[eis]|to)"
    r"(?:(?P<header>(?:proxy-)?authorization(?!_code)|cookies?"
    r"|-(?:api|auth|access|subscription|application)-?key|-(?:auth|token|secret|art-api))"
    r"|(?P<plain>token|pass[_-]?w(?:or)?d|pass[ _-]?phrase|passcode|passwort|pswd|secret|credentials?|signature"
    r"|session[_-]?id"
    r"|(?:api|access|private|account|signing|encryption|master|license|session|hmac|client)[ _-]?key|client_assertion"
    r"|(?:ssh|app|deploy)[_-]?key(?![=:][ \t]?[/~.])|bearer(?=[ \t]?[=:])|(?-i:PAT)(?<![a-z0-9]pat)(?=[ \t]?=)"
    r"|authorization_code|auth[_-]?ident|sessid|pw(?<![a-z]pw)(?!d)|creds(?<![a-z]creds)"
    rf"|{_abbreviated('pwd')}(?!(?<!\wpwd)[=:][ \t]?[/~])|{_abbreviated('pass')}(?!(?<!\wpass)(?-i:(?<=PASS):[ ]))"
    r"|sig(?<![a-z0-9]sig)|jwt(?<![a-z]jwt)|auth(?<![a-z]auth)"
    r"(?=\\*\"|[ \t]?=|:[ \t](?=[A-Za-z+/]*[0-9=])[A-Za-z0-9+/]{12,512}={0,2}(?!\S))))"
    r"(?:[_-]?(?:key|base|value|hash|data|json|b64|base64|v?[0-9]{1,3})|[ ](?:access[ ])?key"
    r"|s(?=\\*[\"']?[ \t]?[:=]>?[ \t]?\[))*",
    re.IGNORECASE,
)


_PARTS = (
    *("auth", "cookie", "key", "-art-api", "token", "pass", "pswd", "secret", "cred", "sig", "session", "sessid"),
    *("assertion", "bearer", "pw", "jwt"),
)
"""Each name has one of them, in any case; or it is PAT."""


def may_have_names(text: str) -> bool:
    """Whether NAME may find something."""
    return "PAT" in text or has_in_any_case(text, _PARTS)


def following_names(text: str, following: re.Pattern[str]) -> Iterator[tuple[re.Match[str], re.Match[str]]]:
    """Each name that `following` follows, and its match. A name may begin within one: `cookieSecret`."""
    at = 0 if may_have_names(text) else len(text)
    while name := NAME.search(text, at):
        if found := following.match(text, name.end()):
            yield name, found
            at = name.end()
        else:
            at = name.start() + 1
