"""Which proxy leads to a server: that of HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, unless NO_PROXY names the server.

The rules are those that most programs have in common. The environment is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

_WITH_PORT = re.compile(r"(.+):([0-9]{1,5})")


def proxy_for(url: str, environment: Mapping[str, str]) -> str:
    """The URL of the proxy for `url`; empty if there is none. A variable's lower-case spelling comes first."""
    if _bypassed(url, _variable("no_proxy", environment)):
        return ""
    return _variable(f"{urlsplit(url).scheme}_proxy", environment) or _variable("all_proxy", environment)


def _variable(name: str, environment: Mapping[str, str]) -> str:
    """An empty lower-case variable counts as set: it disables the other."""
    return environment.get(name, environment.get(name.upper(), "")).strip()


def _bypassed(url: str, no_proxy: str) -> bool:
    parts = urlsplit(url)
    host, port = (parts.hostname or "").rstrip("."), parts.port or {"https": 443}.get(parts.scheme, 80)
    entries = (entry.strip().lower() for entry in no_proxy.split(","))
    return any(_names(entry, host, port) for entry in entries if entry)


def _names(entry: str, host: str, port: int) -> bool:
    """Whether the entry is `*`, a network or address of the host, its name, or a domain that it is in.

    Each but a network may have a port, as in `host:8443`. An IPv6 address with a port stands in brackets.
    """
    if entry == "*":
        return True
    if (address := _address(host)) and "/" in entry:
        with suppress(ValueError):
            return address in ip_network(entry, strict=False)
    if _address(entry) is None and (with_port := _WITH_PORT.fullmatch(entry)):
        entry = with_port[1]
        if int(with_port[2]) != port:
            return False
    name = entry.strip("[]").lstrip("*").strip(".")
    if address:
        return _address(name) == address
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _address(text: str) -> IPv4Address | IPv6Address | None:
    with suppress(ValueError):
        return ip_address(text)
    return None
