"""The clone URL, and apart from it the credentials that it contains."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from .errors import CoatError

TRANSPORTS = ("https", "http", "ssh", "file")
"""What git may use. Others, such as ext::, run programs that the URL names (git-remote-ext(1))."""

_SCP = re.compile(r"[^-:/\s][^:/\s]*:[^:\s]\S*")


@dataclass(frozen=True)
class Remote:
    """A clone URL without credentials, and the credentials. `repr` shows no secret."""

    url: str
    scheme: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> Remote:
        """Raises CoatError, which does not quote the URL, for any URL that git must not get."""
        scheme, separator, rest = url.partition("://")
        if not separator and _SCP.fullmatch(url):
            return cls(url, "ssh")
        if scheme not in TRANSPORTS:
            known = ", ".join(TRANSPORTS)
            raise CoatError(f"--remote-url must begin with {known} and ://, or be user@host:path")
        authority, _, path = rest.partition("/")
        userinfo, _, host = authority.rpartition("@")
        username, _, password = (unquote(part) for part in userinfo.partition(":"))
        if any(ord(character) < 32 for character in username + password):
            raise CoatError("the credentials in --remote-url contain control characters")
        if scheme == "ssh":  # git would pass a password to ssh as an argument, and ssh accepts none
            login = f"{quote(username)}@" if username else ""
            return cls(f"ssh://{login}{host}/{path}", scheme)
        return cls(f"{scheme}://{host}/{path}", scheme, username, password)

    @property
    def origin(self) -> str:
        """Scheme and host: the credentials are for these only."""
        return "/".join(self.url.split("/", 3)[:3])
