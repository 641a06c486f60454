"""Hosts in URLs: which are valid, and which are a cloud's metadata service, however they are written.

A job that reads its node's metadata service has the node's cloud credentials. No name is looked up here: a name that
somebody else's DNS leads to such an address is for the cluster's network policy.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

_HOST = re.compile(r"\A(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9_-]|\.(?!\.)){0,253})\.*\Z")
_NUMBER = re.compile(r"(?:[0-9]+|0[xX][0-9A-Fa-f]*)\Z")
_DECIMAL = re.compile(r"[0-9]+(?:\.[0-9]+){3}\Z")
_QUAD_IN_NAME = re.compile(r"(?<![0-9])(?=([0-9]{1,3})[.-]([0-9]{1,3})[.-]([0-9]{1,3})[.-]([0-9]{1,3})(?![0-9]))")
_HEX_IN_NAME = re.compile(r"(?<![^.-])(?:0x)?([0-9a-f]{8})(?![^.-])")

_NAMES = frozenset(
    {
        "metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal",
        "data-server", "api.service.softlayer.com",
        "metadata.azure.com", "metadata.azure.internal", "metadata.tencentyun.com", "api.metadata.cloud.ibm.com",
        "metadata.packet.net", "metadata.platformequinix.com", "rancher-metadata", "rancher-metadata.rancher.internal",
    }
)  # fmt: skip
_EC2 = re.compile(r"instance-data\.[a-z0-9-]+\.compute\.(?:internal|amazonaws\.com)")

_NETWORKS = tuple(
    ipaddress.ip_network(network)
    # Link-local (RFC 3927, RFC 4291) holds every large cloud's service. The others are Alibaba's, Azure's WireServer
    # and Oracle's; and over IPv6 those of AWS, Google, Oracle, Scaleway and Akamai.
    for network in (
        "169.254.0.0/16", "100.100.100.200", "168.63.129.16", "192.0.0.192",
        "fe80::/10", "fd00:ec2::/32", "fd20:ce::254", "fd00:c1::/32", "fd00:42::42",
        "fd00:a9fe:a9fe::/48",
    )
)  # fmt: skip

_IN_THE_LAST_BITS = tuple(
    ipaddress.IPv6Network(network)
    # IPv4-mapped and -compatible (RFC 4291), -translated (RFC 2765), and NAT64 (RFC 6052, RFC 8215).
    for network in ("::ffff:0:0/96", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
)
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
_6TO4 = ipaddress.IPv6Network("2002::/16")
_TEREDO = ipaddress.IPv6Network("2001::/32")
_ISATAP = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")


def is_host(host: str) -> bool:
    """Whether it is a name, an IPv4 address in any form, or an IPv6 address in brackets, without a zone."""
    if not _HOST.match(host):
        return False
    if host.startswith("["):
        return not host.endswith(".") and isinstance(_address(host.strip("[]")), IPv6Address)
    # A name whose last part is a number is an IPv4 address or nothing (WHATWG URL, "ends in a number").
    name = host.rstrip(".")
    return not _NUMBER.match(name.rpartition(".")[2]) or _address(name) is not None


@lru_cache(maxsize=256)
def is_metadata_service(host: str) -> bool:
    """Whether the host is a cloud's metadata service. `host` is one that `is_host` takes."""
    name = host.strip("[]").rstrip(".").lower()
    if any(name == known or ("." in known and name.endswith(f".{known}")) for known in _NAMES):
        return True
    if _EC2.fullmatch(name):
        return True
    return any(address in network for address in _readings(name) for network in _NETWORKS)


def _readings(name: str) -> Iterator[IPv4Address | IPv6Address]:
    """Every address that a program may take `name` for."""
    address = _address(name)
    if isinstance(address, IPv6Address):
        yield address
        yield from _carried(address)
    elif address is not None:
        yield address
        if _DECIMAL.match(name):  # some programs read leading zeros as decimal, not as octal
            yield from _quad([part.lstrip("0") or "0" for part in name.split(".")])
    else:
        yield from _in_name(name)


def _in_name(name: str) -> Iterator[IPv4Address | IPv6Address]:
    """Where nip.io, sslip.io and others lead such a name: `169-254-169-254.nip.io`, `fd00-ec2--254.sslip.io`."""
    for match in _QUAD_IN_NAME.finditer(name):
        yield from _quad(match.groups())
    for match in _HEX_IN_NAME.finditer(name):
        yield IPv4Address(bytes.fromhex(match[1]))
    for label in name.split("."):
        address = _address(label.replace("-", ":"))
        if isinstance(address, IPv6Address):
            yield address
            yield from _carried(address)


def _quad(parts: list[str] | tuple[str, ...]) -> Iterator[IPv4Address]:
    if all(int(part) <= 255 for part in parts):
        yield IPv4Address(bytes(map(int, parts)))


def _carried(address: IPv6Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that an IPv6 address carries: to some router or host they are the destination."""
    packed = address.packed
    if any(address in network for network in _IN_THE_LAST_BITS):
        yield IPv4Address(packed[12:])
    if address in _LOCAL_NAT64:  # with prefixes of 48, 56 and 64 bits, byte 8 is left out (RFC 6052, 2.2)
        yield IPv4Address(packed[6:8] + packed[9:11])
        yield IPv4Address(packed[7:8] + packed[9:12])
        yield IPv4Address(packed[9:13])
    if address in _6TO4:  # RFC 3056
        yield IPv4Address(packed[2:6])
    if address in _TEREDO:  # RFC 4380: the server, and the client with its bits inverted
        yield IPv4Address(packed[4:8])
        yield IPv4Address(bytes(byte ^ 0xFF for byte in packed[12:]))
    if packed[8:12] in _ISATAP:  # RFC 5214
        yield IPv4Address(packed[12:])


def _address(name: str) -> IPv4Address | IPv6Address | None:
    """`name` as an address, also as inet_aton(3) reads it, and git through curl: `0xa9fea9fe`, `2852039166`."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(name))
    except (OSError, ValueError):
        return None
