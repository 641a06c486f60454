"""URLs that a job fetches from, clone URLs above all: which are taken, and what is left of one without its credentials.

git runs programs for some of them (`ext::`, a host or user that looks like an option), so only https, http, ssh and
scp-like remotes are taken; `file:` where the configuration allows it. No URL may lead to a metadata service.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

import msgspec

from runner.payloads import hosts

_URL = re.compile(
    r"\A(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:(?P<userinfo>[^/?#\\]*)@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^/?#:@\[\]]*)(?::(?P<port>[0-9]{1,5}))?(?P<path>/[^?#]*)?(?P<rest>[?#].*)?\Z"
)
_SCP = re.compile(r"\A(?:(?P<user>[^@:/\[\]]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^@:/\[\]]+):(?P<path>(?!:).+)\Z")

_CONTROL = re.compile("[\x00-\x1f\x7f]")

_SCHEMES = frozenset({"https", "http", "ssh"})
_STORES = frozenset({"s3", "gs"})
"""Schemes of object stores. Such a URL names a bucket and not a host."""


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
    if message := _place_objection(remote):
        return message
    if remote.scheme != "scp" and _CONTROL.search(unquote(remote.path)):
        return "must hold no encoded control character, such as %0A"
    if remote.path.lstrip("/").startswith("-") or not remote.path.strip("/"):
        return "must name a repository after the host"
    return ""


def download_objection(url: str, *, allow_file: bool) -> str:
    """Why `url` is not downloaded from, as `objection`. The rule is the same, but for what only git does."""
    remote = parse(url)
    if remote is not None and remote.scheme == "file":
        return _file_objection(remote, allow_file)
    if remote is None or remote.scheme not in _SCHEMES | _STORES:
        return f"must be an https, http or ssh URL, or one of an object store ({', '.join(sorted(_STORES))})"
    if message := _place_objection(remote):
        return message
    # Programs differ in where the host of `http://a#@b/` ends.
    return "must have a path before its query" if not remote.path and set(url) & set("?#") else ""


def _place_objection(remote: Remote) -> str:
    if not hosts.is_host(remote.host) or not _port_fits(remote.port):
        return "must name a host (and a port from 1 to 65535, where it has one)"
    if not _is_user(remote):
        return "must have a user name that does not start with - and holds no control character, / or %2F"
    if hosts.is_metadata_service(remote.host):
        return "must not be a cloud's metadata service"
    return ""


def _file_objection(remote: Remote, allow_file: bool) -> str:
    if not allow_file:
        return "must not be a file: URL (set remotes.allowFile to take them)"
    if remote.host or remote.userinfo or not remote.path.strip("/"):
        return "must be file:///path, without a host"
    return ""


def _is_user(remote: Remote) -> bool:
    """git decodes a whole ssh URL before it takes it apart: `ssh://a%2F@b/` leads to the host a."""
    user = unquote(remote.userinfo)
    if _CONTROL.search(user):  # git refuses a line feed, and writes user and password in lines to credential helpers
        return False
    return not user.startswith("-") and not (remote.scheme == "ssh" and "/" in user)


def _port_fits(port: str) -> bool:
    return not port or 1 <= int(port) <= 65535
