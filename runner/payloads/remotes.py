"""Clone URLs: which are taken, and what is left of one without its credentials.

git runs programs for some of them (`ext::`, a host or user that looks like an option), so only https, http, ssh and
scp-like remotes are taken; `file:` where the configuration allows it. Addresses that only a metadata service answers
on are refused, since a job could read the node's cloud credentials through them.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from functools import lru_cache
from urllib.parse import unquote

import msgspec

_URL = re.compile(
    r"\A(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:(?P<userinfo>[^/?#\\]*)@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^/?#:@\[\]]*)(?::(?P<port>[0-9]{1,5}))?(?P<path>/[^?#]*)?(?P<rest>[?#].*)?\Z"
)
_SCP = re.compile(r"\A(?:(?P<user>[^@:/\[\]]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^@:/\[\]]+):(?P<path>(?!:).+)\Z")
_HOST = re.compile(r"\A(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,253}))\Z")

_SCHEMES = frozenset({"https", "http", "ssh"})
_METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}
)
_METADATA_NETWORKS = tuple(
    ipaddress.ip_network(network)
    # Link-local (RFC 3927, RFC 4291) holds every large cloud's metadata service; the others are AWS and Google over
    # IPv6, Alibaba, and Azure's WireServer.
    for network in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "fd20:ce::254", "100.100.100.200", "168.63.129.16")
)
# IPv6 spellings of IPv4 addresses: mapped, compatible (RFC 4291), and through NAT64 (RFC 6052).
_CARRIERS = tuple(ipaddress.IPv6Network(network) for network in ("::ffff:0:0/96", "::/96", "64:ff9b::/96"))


class Remote(msgspec.Struct, frozen=True):
    """A clone URL in its parts. `userinfo` may be a secret; `public` never has one."""

    scheme: str
    userinfo: str
    host: str
    port: str
    path: str

    @property
    def public(self) -> str:
        """The remote without user, password, query or fragment: what may be logged and compared."""
        if self.scheme == "scp":
            return f"{self.host}:{self.path}"
        return f"{self.scheme}://{self.host}{f':{self.port}' if self.port else ''}{self.path}"


def parse(url: str) -> Remote | None:
    """The parts of `url`, or None where it is neither a URL nor scp-like; like git, `://` anywhere makes it a URL."""
    if match := _URL.match(url):
        return Remote(
            scheme=match["scheme"].lower(),
            userinfo=match["userinfo"] or "",
            host=match["host"].lower(),
            port=match["port"] or "",
            path=match["path"] or "",
        )
    if "://" not in url and (match := _SCP.match(url)):
        return Remote(
            scheme="scp",
            userinfo=match["user"] or "",
            host=match["host"].lower(),
            port="",
            path=match["path"],
        )
    return None


def objection(url: str, *, allow_file: bool, only_ssh: bool = False) -> str:
    """Why `url` is not cloned from: the end of the sentence "this field …". Empty where nothing is wrong."""
    remote = parse(url)
    if remote is not None and remote.scheme == "file":
        return _file_objection(remote, allow_file)
    if remote is None or remote.scheme not in _SCHEMES | {"scp"}:
        return "must be an https, http or ssh URL, or scp-like (user@host:path)"
    if only_ssh and remote.scheme not in ("ssh", "scp"):
        return "must be an ssh URL or scp-like (user@host:path), since a key is to be tried"
    if not _is_host(remote.host) or not _port_fits(remote.port):
        return "must name a host (and a port from 1 to 65535, where it has one)"
    if not _is_user(remote):
        return "must have a user name that does not start with - and holds no / or %2F"
    if remote.path.lstrip("/").startswith("-") or not remote.path.strip("/"):
        return "must name a repository after the host"
    if _is_metadata_service(remote.host):
        return "must not be a cloud's metadata service"
    return ""


def _file_objection(remote: Remote, allow_file: bool) -> str:
    if not allow_file:
        return "must not be a file: URL (set remotes.allowFile to take them)"
    if remote.host or remote.userinfo or not remote.path.strip("/"):
        return "must be file:///path, without a host"
    return ""


def _is_host(host: str) -> bool:
    return bool(_HOST.match(host)) and (not host.startswith("[") or _address(host.strip("[]")) is not None)


def _is_user(remote: Remote) -> bool:
    """git decodes a whole ssh URL before it takes it apart: `ssh://a%2F@b/` leads to the host a."""
    user = unquote(remote.userinfo)
    return not user.startswith("-") and not (remote.scheme == "ssh" and "/" in user)


def _port_fits(port: str) -> bool:
    return not port or 1 <= int(port) <= 65535


@lru_cache(maxsize=256)
def _is_metadata_service(host: str) -> bool:
    name = host.strip("[]").rstrip(".")
    if name in _METADATA_NAMES:
        return True
    address = _address(name)
    if isinstance(address, ipaddress.IPv6Address) and any(address in carrier for carrier in _CARRIERS):
        address = ipaddress.IPv4Address(address.packed[-4:])
    return address is not None and any(
        address in network for network in _METADATA_NETWORKS if network.version == address.version
    )


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """`name` as an address, also as inet_aton(3) reads it, and git through curl: `0xa9fea9fe`, `2852039166`."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(name))
    except (OSError, ValueError):
        return None
