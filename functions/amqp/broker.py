"""Access to the broker: its URL, credentials and TLS files, from the environment only.

The configuration file does not have them, and `up` gives these variables to no other process.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping

import msgspec
from yarl import URL

from runner.errors import Malformed

PREFIX = "ORCHESTRATOR_AMQP_"


class BrokerAccess(msgspec.Struct, frozen=True, kw_only=True):
    """One field per variable: `url` is ORCHESTRATOR_AMQP_URL, and so on. Files are PEM."""

    url: str
    username: str = ""
    """Replaces the one in the URL, as `password` does."""
    password: str = ""
    ca_file: str = ""
    """The authorities that sign the broker's certificate; the system's where empty."""
    certificate_file: str = ""
    """The client certificate, for a broker that asks for one."""
    key_file: str = ""

    def __repr__(self) -> str:
        return f"BrokerAccess({self.loggable})"

    @property
    def address(self) -> URL:
        """The URL with the credentials."""
        url = URL(self.url)
        if self.username:
            url = url.with_user(self.username)
        return url.with_password(self.password) if self.password else url

    @property
    def loggable(self) -> str:
        """The URL without credentials and options."""
        url = URL(self.url)
        return f"{url.scheme}://{url.host}{f':{url.explicit_port}' if url.explicit_port else ''}{url.path}"

    def tls(self) -> ssl.SSLContext | None:
        """For an amqps URL, else None. The broker's certificate is always verified. Raises OSError."""
        if URL(self.url).scheme != "amqps":
            return None
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.certificate_file:
            context.load_cert_chain(self.certificate_file, self.key_file or None)
        return context


def read(environ: Mapping[str, str]) -> BrokerAccess:
    """The variables' values. Raises Malformed, naming every variable that is wrong."""
    names = BrokerAccess.__struct_fields__
    access = BrokerAccess(**{"url": "", **{name: environ.get(PREFIX + name.upper(), "") for name in names}})
    if problems := [*_problems(access)]:
        raise Malformed("; ".join(problems))
    return access


def _problems(access: BrokerAccess) -> Iterator[str]:
    variable = f"{PREFIX}URL"
    if not access.url:
        yield f"{variable} is required: amqp://user:password@host:port/vhost, or amqps://…"
        return
    try:
        scheme, host = URL(access.url).scheme, URL(access.url).host
    except ValueError:  # its text quotes the URL with the password
        yield f"{variable} is no URL; write amqp://user:password@host:port/vhost, or amqps://…"
        return
    if scheme not in ("amqp", "amqps") or not host:
        yield f"{variable} must be amqp://… or amqps://… with a host"
    elif scheme == "amqp" and (access.ca_file or access.certificate_file):
        yield f"{variable} must be amqps://… where {PREFIX}CA_FILE or {PREFIX}CERTIFICATE_FILE is set"
    else:
        yield from _tls_problems(access)


def _tls_problems(access: BrokerAccess) -> Iterator[str]:
    try:
        access.tls()
    except OSError as error:
        files = ", ".join(f"{PREFIX}{name}" for name in ("CA_FILE", "CERTIFICATE_FILE", "KEY_FILE"))
        yield f"the files for TLS cannot be used: {error}; correct {files}"
