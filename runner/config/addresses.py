"""Hosts, listening addresses and URLs: which of them can exist, and which listeners exclude each other.

Nothing here asks a name server or the network.
"""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import IPv6Address
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

TO_65535 = r"(?:[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
URL_HOST = rf"(?:\[[0-9A-Fa-f:.]+\]|[^\s/@?#:\[\]\x00-\x1f\x7f]+)(?::{TO_65535})?"
"""The form of a URL's host, and of its port where it has one. `is_url` has the rest."""

_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[^\s/@:\[\]\x00-\x1f\x7f]+)"
Bind = Annotated[str, Meta(pattern=rf"\A{_HOST}:{TO_65535}\Z", description="host:port")]
METRICS_BIND = rf"\A(?:|{_HOST}:{TO_65535}|unix:/\S{{1,100}})\Z"

_LABEL = r"\w(?:[\w-]{0,61}\w)?"
_NAME = re.compile(rf"(?=.{{1,254}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?[0-9]+\.?", re.DOTALL)
_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){0,3}")
_ALL_OF_IPV4 = "0.0.0.0"  # noqa: S104  (compared, not bound)


def is_host(host: str) -> bool:
    """Whether it is an IP address without brackets, or can be a name. No top-level domain is a number."""
    if ":" in host:
        return _is_ipv6(host)
    if _ENDS_IN_NUMBER.fullmatch(host):
        return bool(_IPV4.fullmatch(host)) and all(int(part) <= 255 for part in host.split("."))
    return bool(_NAME.fullmatch(host))


def is_bind(bind: str) -> bool:
    """Whether the host of a `host:port` can exist."""
    host, _, _ = bind.rpartition(":")
    return _is_ipv6(host[1:-1]) if host.startswith("[") else is_host(host)


def is_url(url: str, schemes: tuple[str, ...]) -> bool:
    """Whether it is a URL of one of these schemes, with a host that can exist and a port that can be connected to."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in schemes and is_host(parts.hostname or "") and parts.port != 0
    except ValueError:
        return False
    return valid and url.isprintable() and " " not in url


def collide(one: str, other: str) -> bool:
    """Whether one host cannot listen at both. A port 0 is any free one, and `::` takes IPv4 as well (ipv6(7))."""
    (host, port), (other_host, other_port) = _settled(one), _settled(other)
    if port != other_port or port == 0:
        return False
    both = {host, other_host}
    if host == other_host or "::" in both or ("localhost" in both and both & {"127.0.0.1", "::1"}):
        return True
    return _ALL_OF_IPV4 in both and not any(":" in each for each in both)


def _settled(bind: str) -> tuple[str, int]:
    """The host in one spelling, and the port."""
    host, _, port = bind.rpartition(":")
    host = host.strip("[]").lower().rstrip(".")
    if ":" in host:
        host = str(IPv6Address(host))
    elif _IPV4.fullmatch(host):
        *parts, last = (str(int(part)) for part in host.split("."))
        host = ".".join([*parts, *["0"] * (3 - len(parts)), last])
    return host, int(port)


def _is_ipv6(host: str) -> bool:
    with suppress(ValueError):
        return bool(IPv6Address(host).packed)
    return False
