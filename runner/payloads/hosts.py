"""Hosts in URLs: which are valid, and which are a cloud's metadata service, however they are written.

A job that reads its node's metadata service has the node's cloud credentials. No name is looked up here: a name that
somebody else's DNS leads to such an address is for the cluster's network policy.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

_HOST = re.compile(r"\A(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9_-]|\.(?!\.)){0,253})\.*\Z")
_NUMBER = re.compile(r"(?:[0-9]+|0[xX][0-9A-Fa-f]*)\Z")
_DECIMAL = re.compile(r"[0-9]+(?:\.[0-9]+){3}\Z")
_IPV6_LABEL = re.compile(
    # Only of networks that matter: those below, and those that carry an IPv4 address.
    r"(?=fe[89ab]|fd|200[12]-|0{0,2}64-|0{0,4}-|[0-9a-f-]*5efe)[0-9a-f]{0,4}(?:-[0-9a-f]{0,4}){2,7}\Z"
)
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


class _Network(NamedTuple):
    """A network by its number and the width of the rest. A name may be read as a hundred addresses: tests are cheap."""

    number: int
    rest: int

    def holds(self, address: int) -> bool:
        """Whether the address, as a number, is in it."""
        return address >> self.rest == self.number


def _in_decimal(network: str) -> str:
    """The pattern of an address of this network, of whole bytes, within a name: with dots or dashes."""
    address, _, size = network.partition("/")
    fixed = int(size) // 8
    parts = [f"0{{0,2}}{part}" for part in address.split(".")[:fixed]]
    return "[.-]".join([*parts, *["[0-9]{1,3}"] * (4 - fixed)])


def _networks(*written: str) -> tuple[_Network, ...]:
    networks = map(ipaddress.ip_network, written)
    sizes = [(int(each.network_address), each.max_prefixlen - each.prefixlen) for each in networks]
    return tuple(_Network(address >> rest, rest) for address, rest in sizes)


# Link-local (RFC 3927, RFC 4291) holds every large cloud's service. The others are Alibaba's, Azure's WireServer and
# Oracle's; and over IPv6 those of AWS, Google, Oracle, Scaleway and Akamai.
_OF_IPV4 = ("169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32")
_IPV4 = _networks(*_OF_IPV4)
_QUAD_IN_NAME = re.compile(rf"(?<![0-9])(?:{'|'.join(map(_in_decimal, _OF_IPV4))})(?![0-9])")
_IPV6 = _networks(
    "fe80::/10", "fd00:ec2::/32", "fd20:ce::254", "fd00:c1::/32", "fd00:42::42", "fd00:a9fe:a9fe::/48"
)  # fmt: skip

# IPv4-mapped and -compatible (RFC 4291), -translated (RFC 2765), and NAT64 (RFC 6052, RFC 8215).
_IN_THE_LAST_BITS = _networks("::ffff:0:0/96", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
(_LOCAL_NAT64,) = _networks("64:ff9b:1::/48")
(_6TO4,) = _networks("2002::/16")
(_TEREDO,) = _networks("2001::/32")
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
    if _EC2.fullmatch(name) or _QUAD_IN_NAME.search(name):
        return True
    numbers, addresses = _readings(name)
    carried = [number for address in addresses for number in _carried(address)]
    return any(network.holds(number) for number in (*numbers, *carried) for network in _IPV4) or any(
        network.holds(int(address)) for address in addresses for network in _IPV6
    )


def _readings(name: str) -> tuple[list[int], list[IPv6Address]]:
    """Every address that a program may take `name` for, those of IPv4 as numbers. `_QUAD_IN_NAME` has the others."""
    address = _address(name)
    if isinstance(address, IPv6Address):
        return [], [address]
    if address is None:
        return [int(match[1], 16) for match in _HEX_IN_NAME.finditer(name)], list(_ipv6_in_name(name))
    # Some programs read leading zeros as decimal, not as octal.
    decimal = _quad(name.split(".")) if _DECIMAL.match(name) else None
    return [int(address)] + ([] if decimal is None else [decimal]), []


def _ipv6_in_name(name: str) -> Iterator[IPv6Address]:
    """Where nip.io, sslip.io and others lead such a name: `fd00-ec2--254.sslip.io`."""
    for label in name.split("."):
        if _IPV6_LABEL.match(label):
            with suppress(ValueError):
                yield IPv6Address(label.replace("-", ":"))


def _quad(parts: Sequence[str]) -> int | None:
    """Four decimal numbers as an IPv4 address; None where one is over 255."""
    first, second, third, fourth = map(int, parts)
    if max(first, second, third, fourth) > 255:
        return None
    return first << 24 | second << 16 | third << 8 | fourth


def _carried(address: IPv6Address) -> Iterator[int]:
    """The IPv4 addresses that an IPv6 address carries: to some router or host they are the destination."""
    number, packed = int(address), address.packed
    if any(network.holds(number) for network in _IN_THE_LAST_BITS):
        yield _number(packed[12:])
    if _LOCAL_NAT64.holds(number):  # with prefixes of 48, 56 and 64 bits, byte 8 is left out (RFC 6052, 2.2)
        yield _number(packed[6:8] + packed[9:11])
        yield _number(packed[7:8] + packed[9:12])
        yield _number(packed[9:13])
    if _6TO4.holds(number):  # RFC 3056
        yield _number(packed[2:6])
    if _TEREDO.holds(number):  # RFC 4380: the server, and the client with its bits inverted
        yield _number(packed[4:8])
        yield _number(bytes(byte ^ 0xFF for byte in packed[12:]))
    if packed[8:12] in _ISATAP:  # RFC 5214
        yield _number(packed[12:])


def _number(packed: bytes) -> int:
    return int.from_bytes(packed)


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
