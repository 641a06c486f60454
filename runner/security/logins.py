"""Finds logins in other forms than a URL's own and a name's: on command lines, in .netrc, in XML, in escaped URLs.

As in `credentials`, each function gives offsets (start, end), and the time is linear.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from runner.security.placeholders import is_placeholder
from runner.security.shapes import Span

_SLASHES = r"(?:%(?:25){0,3}3A|:|\\{1,8}u003a)(?:(?:%(?:25){0,3}2F){2}|(?:\\{1,8}u002f){2})"
_AT = r"(?:%(?:25){0,3}40|@|\\{1,8}u0040)"
_SECRET = r"(?i:password|passwd|passphrase|token|secret|api[_-]?key|access[_-]?key|private[_-]?key)"  # noqa: S105
_VALUE = r"[\"']?(?P<login>[^\s\"'-][^\s\"']*)"
_LOGINS = tuple(
    re.compile(pattern)
    for pattern in (
        # Of a URL that is itself part of a URL, or whose slashes JSON escapes.
        rf"(?i:{_SLASHES})(?P<login>(?:(?!%(?:25){{0,3}}2[Ff])[^\s\"'/&@\\]){{1,512}}?){_AT}",
        # Of programs that take a password as an option.
        r"-(?<![^\s\"'\[]-)-?(?:[A-Za-z]+-)*(?i:token|passw(?:or)?d|passphrase|secret|api-?key|cookie)"
        r"(?P<list>\\*[\"'],)?[ \t]{0,4}(?<=[ \t,])(?P<quote>\\*[\"'])?"
        r"(?P<login>(?(quote)[^\"'\n\\]{1,256}|(?(list)(?!)|[^\s\"'-][^\s\"']*)))",
        # Of a shell or a Dockerfile that puts a space between name and value.
        rf"(?:setenv|set[ \t]-[a-z]{{1,3}}|ENV)[ \t]+\w{{0,64}}{_SECRET}\w{{0,16}}[ \t]+{_VALUE}",
        # Of a .netrc, in one line or several.
        r"\b(?:machine|login|account)[ \t]+[^\s\"]+[ \t]+password[ \t]+(?P<login>[^\s\"]+)",
        r"(?m)^[ \t]*password[ \t]+(?P<login>(?=\S*[^a-z\s])[^\s\"]+)[ \t]*$",
        # Of SMTP and IMAP.
        r"AUTH(?<!\wAUTH)(?:ENTICATE)?[ \t](?:PLAIN|LOGIN|XOAUTH2|CRAM-MD5)[ \t](?P<login>[^\s\"]+)",
        # Of XML, and of Oracle's JDBC driver.
        rf"<[\w.:-]{{0,64}}{_SECRET}(?:[ \t][^<>]{{0,256}})?>(?P<login>[^<\s\"]+)<",
        r"jdbc:oracle:[a-z]{1,8}:[\w.$-]{1,64}/(?P<login>[^@\s\"]{1,256})@",
    )
)

_USER_OPTION = re.compile(
    r"-(?<!\S-)(?:[uU]|-user|-proxy-user)[ =]?[\"']?(?P<user>[\w.@%+-]{1,128}):(?P<login>[^\s\"']+)"
)
_OPTION = re.compile(r"-(?<!\S-)(?P<letter>[pawU])(?P<space>[ =]?)[\"']?(?P<login>[^\s\"'-][^\s\"']*)")
_REST = r"\b[^\n|;&\"]*\Z"
_PROGRAMS = {
    "p": re.compile(
        rf"\b(?:sshpass|(?:docker|podman|nerdctl|az|oc|skopeo|buildah|crane|helm[ ]registry)[ ]login){_REST}"
    ),
    "p, without a space": re.compile(rf"\b(?:mysql|mariadb)[a-z]{{0,8}}{_REST}"),
    "a": re.compile(rf"\b(?:redis-cli|https?|xh){_REST}"),
    "w": re.compile(rf"\bldap[a-z]{{3,8}}{_REST}"),
    "U": re.compile(rf"\b(?:smbclient|rpcclient|mount\.cifs){_REST}"),
}
"""Programs that take a password, or a user with one, after an option of this letter."""

_COMMANDS = re.compile(
    r"(?<![\w.-])(?:(?P<login>curl|wget|http|https|xh|ab|siege|mysql|svn)"
    r"|docker|docker-compose|podman|nerdctl|crictl|buildah|kubectl|chroot|setpriv|runuser|git|ls|sort|date|tar|rsync|cp"
    r")(?![\w:/.-])"
)
"""Programs with `-u`, of a user and a password or of something else."""
_BEFORE = 256
"""Characters before an option in which its program is looked for."""

# What follows the @ of an image or of a package is no host's name.
_AT_HOST = re.compile(r"@(?:(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}(?![\w-])|tcp\()")
_BEFORE_AT = re.compile(r"(?<![\w.%+/:@-])(?!mailto:|sips?:)[\w.%+-]{1,128}:(?P<login>[^\s\"'/:@\\]{1,256})\Z")


def spans(text: str) -> Iterator[Span]:
    """Passwords of logins, in no order."""
    for pattern in _LOGINS:
        for found in pattern.finditer(text):
            if not is_placeholder(found["login"]):
                yield found.span("login")
    for option in _USER_OPTION.finditer(text):
        if not _is_user_and_group(text, option):
            yield option.span("login")
    for option in _OPTION.finditer(text):
        if _takes_password(text, option):
            yield option.span("login")
    for at in _AT_HOST.finditer(text):
        if before := _BEFORE_AT.search(text, max(0, at.start() - 400), at.start()):
            yield before.span("login")


def _is_user_and_group(text: str, option: re.Match[str]) -> bool:
    """Whether it is `-u user:group` of a container, or an option of a program that has no passwords."""
    if option["user"].isdigit() and option["login"].isdigit():
        return True
    commands = list(_COMMANDS.finditer(_before(text, option)))
    return bool(commands) and commands[-1]["login"] is None


def _takes_password(text: str, option: re.Match[str]) -> bool:
    before, letter = _before(text, option), option["letter"]
    if letter == "p" and not option["space"] and _PROGRAMS["p, without a space"].search(before):
        return True
    return _PROGRAMS[letter].search(before) is not None


def _before(text: str, option: re.Match[str]) -> str:
    """What precedes the option in its line, as far as its program is looked for."""
    first = max(0, option.start() - _BEFORE)
    return text[max(text.rfind("\n", first, option.start()) + 1, first) : option.start()]
