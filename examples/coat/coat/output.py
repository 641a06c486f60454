"""Standard error without secrets."""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Iterable, Mapping
from urllib.parse import quote, unquote

_USERINFO = re.compile(r"(?<=://)[^/\s]+(?=@)")
_QUERY = re.compile(r"(://[^\s?'\"<>]*)\?[^\s'\"<>]*")
SHORTEST_LINE = 16
"""Characters of a line of a key that is masked by itself."""


def secrets_in(remote_url: str, environ: Mapping[str, str]) -> frozenset[str]:
    """Everything that must not be printed, in every encoding in which a server may repeat it."""
    scheme, _, rest = remote_url.partition("://")
    userinfo = rest.partition("/")[0].rpartition("@")[0]
    username, _, password = userinfo.partition(":")
    token = "" if scheme == "ssh" else username  # with https the user name may be a token
    secret = password or token
    plain = unquote(secret)
    basic = base64.b64encode(unquote(f"{username}:{password}").encode()).decode()
    found = {secret, plain, quote(plain, safe=""), basic}
    found |= {environ.get(name, "") for name in ("RESULT_HTTP_TOKEN", "SENTRY_DSN")}
    found |= {line for line in environ.get("SSH_PRIVATE_KEY", "").splitlines() if len(line) >= SHORTEST_LINE}
    return frozenset(text for text in found if len(text) > 2)


class Output:
    """Prints to standard error, and masks every secret."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted(secrets, key=len, reverse=True)

    def masked(self, text: str) -> str:
        """`text` without the secrets, and without user and query of any URL."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return _QUERY.sub(r"\1?***", _USERINFO.sub("***", text))

    def write(self, text: str) -> None:
        """Print a line, masked. Prints nothing where the text is empty."""
        if text:
            print(self.masked(text), file=sys.stderr, flush=True)
