"""Finds logins on command lines: of options, of programs that take a password without one, of commands that store one.

As in `credentials`, each function gives offsets (start, end), and the time is linear.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from runner.security.names import LIKE_A_SECRET, SECRET
from runner.security.placeholders import is_placeholder
from runner.security.shapes import Span

_OPTION_NAME = r"(?:[A-Za-z0-9]{1,24}[._-]){0,4}(?:[A-Za-z0-9]{1,24}(?=[A-Z]))?"
_VALUE = r"[\"']?(?P<login>[^\s\"'-][^\s\"']*)"
_LOGINS = tuple(
    (part, re.compile(pattern))
    for part, pattern in (
        # Of programs that take a password as an option.
        (
            "-",
            rf"-(?<![^\s\"'\[]-)-?{_OPTION_NAME}(?i:token|passw(?:or)?d|passphrase|passcode|secret|api[_-]?key|cookie"
            r"|oauth2-bearer|(?:store|key)pass)"
            r"(?P<list>\\*[\"'],)?[ \t]{0,4}(?<=[ \t,])(?P<quote>\\*[\"'])?"
            r"(?P<login>(?(quote)[^\"'\n\\]{1,256}|(?(list)(?!)|[^\s\"'-][^\s\"']*)))",
        ),
        # The same with names that may also stand before a path.
        (
            "-",
            rf"-(?<![^\s\"'\[]-)-?{_OPTION_NAME}(?i:pass|pwd|credentials?|signature"
            r"|(?:access|private|secret|signing|encryption|master|account)[._-]?key)"
            r"[ \t]{1,4}[\"']?(?P<login>(?![/~.$])[^\s\"'-][^\s\"']*)",
        ),
        ("--cert", r"--cert[ =][\"']?[^\s:\"']{1,256}:(?P<login>[^\s\"']+)"),
        # Of commands that store a login, or take it from another program.
        ("config", rf"\bconfig(?:ure)?[ \t]+set[ \t]+(?=\S{{0,128}}(?:{SECRET}|_auth\b))\S{{1,256}}[ \t]+{_VALUE}"),
        (
            "http-basic.",
            r"\bhttp-basic\.\S{1,128}[ \t]+\S{1,128}[ \t]+(?P<login>[^\s\"'-][^\s\"']*)",
        ),
        ("pypi-token.", r"\bpypi-token\.\S{1,128}[ \t]+(?P<login>[^\s\"'-][^\s\"']*)"),
        (
            "bundle config",
            r"\bbundle config[ \t]+(?:(?:set|--\w+)[ \t]+){0,3}\S{1,128}[ \t]+(?P<login>[\w.@%+-]{1,128}:[^\s\"']+)",
        ),
        ("BUNDLE_", r"\bBUNDLE_\w{1,64}__\w{1,64}[:=][ \t]?[\"']?(?P<login>[\w.@%+-]{1,128}:[^\s\"']+)"),
        ("--from-literal", r"--from-literal[= ][\"']?[^\s=]{1,256}=(?P<login>[^\s\"']+)"),
        ("::add-mask::", r"::add-mask::(?P<login>[^\s\"]+)"),
        (" login ", rf"\b(?:vault|npm|cargo|pulumi) login[ \t]+(?P<login>(?!-){LIKE_A_SECRET})"),
        (" auth ", rf"\b(?:snyk|doppler|fly|flyctl) auth[ \t]+(?P<login>(?!-){LIKE_A_SECRET})"),
        (
            "echo",
            r"\becho[ \t]+(?:-n[ \t]+)?\\*[\"']?(?P<login>[^\s\"'|]{1,256})[\"']?[ \t]*\|"
            r"[^\n|\"]{0,128}(?:-stdin|--with-token|passwd)\b",
        ),
        (
            "htpasswd",
            r"\bhtpasswd[ \t]+-\w{0,8}b\w{0,8}[ \t]+\S{1,256}[ \t]+\S{1,128}[ \t]+(?P<login>[^\s\"']+)",
        ),
    )
)
"""Each with a text that it contains: most texts do not."""

_USER_OPTION = re.compile(
    r"-(?<!\S-)(?:(?P<several>[A-Za-z]{1,8})?[uU]|-user|-proxy-user)[ =]?[\"']?(?P<user>[\w.@%+-]{1,128}):"
    r"(?P<login>[^\s\"']+)"
)
_OPTION = re.compile(r"-(?<!\S-)(?P<letter>[pawUPkbtE])(?P<space>[ =]?)[\"']?(?P<login>[^\s\"'-][^\s\"']*)")
_REST = r"\b[^\n|;&\"]*\Z"
_PROGRAMS = {
    "p": re.compile(
        rf"\b(?:sshpass|(?:docker|podman|nerdctl|az|oc|skopeo|buildah|crane|helm[ ]registry)[ ]login"
        rf"|twine[ ]upload|user(?:add|mod)){_REST}"
    ),
    "p, without a space": re.compile(rf"\b(?:mysql|mariadb|7z)[a-z]{{0,8}}{_REST}"),
    "P": re.compile(rf"\b(?:zip|unzip|bsqldb|sqlcmd){_REST}"),
    "k": re.compile(rf"\bopenssl[ ]enc{_REST}"),
    "t": re.compile(rf"\bcodecov{_REST}"),
    "b": re.compile(rf"\bcurl{_REST}"),
    "E": re.compile(rf"\bcurl{_REST}"),
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


def spans(text: str) -> Iterator[Span]:
    """Passwords and tokens of command lines, in no order."""
    for part, pattern in _LOGINS:
        for found in pattern.finditer(text) if part in text else ():
            if not is_placeholder(found["login"]):
                yield found.span("login")
    for option in _USER_OPTION.finditer(text):
        if not _is_user_and_group(text, option):
            yield option.span("login")
    for option in _OPTION.finditer(text):
        if _takes_password(text, option):
            yield option.span("login")


def _is_user_and_group(text: str, option: re.Match[str]) -> bool:
    """Whether it is `-u user:group` of a container, or an option of a program that has no passwords."""
    if option["user"].isdigit() and option["login"].isdigit():
        return True
    commands = list(_COMMANDS.finditer(_before(text, option)))
    if option["several"] and (not commands or commands[-1][0] != "curl"):  # -su is of curl, -gpu is not
        return True
    return bool(commands) and commands[-1]["login"] is None


def _takes_password(text: str, option: re.Match[str]) -> bool:
    before, letter = _before(text, option), option["letter"]
    if (letter == "b" and "=" not in option["login"]) or (letter == "E" and ":" not in option["login"]):
        return False  # the name of a file
    if letter == "p" and not option["space"] and _PROGRAMS["p, without a space"].search(before):
        return True
    return _PROGRAMS[letter].search(before) is not None


def _before(text: str, option: re.Match[str]) -> str:
    """What precedes the option in its line, as far as its program is looked for."""
    first = max(0, option.start() - _BEFORE)
    start = max(text.rfind("\n", first, option.start()) + 1, first)
    while start - 2 >= first and text[start - 2] == "\\":  # the line before is continued
        start = max(text.rfind("\n", first, start - 1) + 1, first)
    return text[start : option.start()].replace("\\\n", " ")
