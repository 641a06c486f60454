"""The RabbitMQ door's settings: from the environment alone, as gunicorn.conf.py has the HTTP door's."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from yarl import URL

from runner.errors import Malformed
from runner.request_types import by_spelling
from runner.sidecar.client import DEFAULT_SOCKET, SOCKET_VARIABLE

PREFIX = "ORCHESTRATOR_AMQP_"
URL_VARIABLE = f"{PREFIX}URL"

Name = Annotated[str, Meta(min_length=1, max_length=200)]
"""Of an exchange or a queue. AMQP's bound is 255 bytes; ours leaves room for what is appended."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where one request type's messages come in. Both names are the request type's own where empty."""

    queue: str = ""
    key: str = ""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A queue to consume, the key that it is bound by, and what its messages are."""

    request_type: str
    queue: str
    key: str


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the environment may say, with defaults, units and bounds; docs/amqp.md explains it."""

    url: str
    username: str = ""
    password: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    exchange: Name = "atlas-jobs"
    queues: dict[str, Place] = {}
    queue_type: Literal["classic", "quorum"] = "classic"
    declare: bool = True
    prefetch: Annotated[int, Meta(ge=1, le=1024)] = 32
    """Messages of each queue in hand at once."""
    threads: Annotated[int, Meta(ge=1, le=1024)] = 16
    """Commands in hand at once, of all queues together."""
    delays: Annotated[tuple[Annotated[int, Meta(ge=1, le=86400)], ...], Meta(min_length=1, max_length=16)] = (
        1, 2, 5, 10, 30, 60, 120, 300,
    )  # fmt: skip
    """Seconds, growing: how long a message waits after its first, second … failure."""
    health_file: str = ""

    def __repr__(self) -> str:
        return f"Settings({self.broker}, exchange={self.exchange!r})"

    @property
    def address(self) -> URL:
        """The broker's URL, credentials included."""
        url = URL(self.url)
        if self.username:
            url = url.with_user(self.username)
        return url.with_password(self.password) if self.password else url

    @property
    def broker(self) -> str:
        """The broker's URL without credentials and options: what may be logged."""
        url = URL(self.url)
        return f"{url.scheme}://{url.host}{f':{url.explicit_port}' if url.explicit_port else ''}{url.path}"

    def sources(self) -> tuple[Source, ...]:
        """Every queue, also that of the spelling in atlas's own list; one that two spellings share only once."""
        sources: dict[str, Source] = {}
        for spelling, row in by_spelling().items():
            place = self.queues.get(spelling, Place())
            queue, key = place.queue or spelling, place.key or spelling
            sources.setdefault(queue, Source(request_type=row.name, queue=queue, key=key))
        return tuple(sources.values())

    def tls(self) -> ssl.SSLContext | None:
        """For an amqps URL: verifies the broker, by the CA file where there is one, and shows our certificate."""
        if URL(self.url).scheme != "amqps":
            return None
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.certificate_file:
            context.load_cert_chain(self.certificate_file, self.key_file or None)
        return context


def read(environ: Mapping[str, str]) -> tuple[Settings, str]:
    """The settings, and the sidecar's socket. Raises Malformed, naming the variable."""
    given = {
        field.name: value
        for field in msgspec.structs.fields(Settings)
        if (value := environ.get(PREFIX + field.name.upper()))
    }
    if "url" not in given:
        raise Malformed(f"{URL_VARIABLE} is required: amqp://user:password@host:port/vhost, or amqps://…")
    try:
        decoded: dict[str, Any] = dict(given)
        if "queues" in given:
            decoded["queues"] = msgspec.json.decode(given["queues"])
        if "delays" in given:
            decoded["delays"] = given["delays"].split(",")
        settings = msgspec.convert(decoded, Settings, strict=False)
    except msgspec.MsgspecError as error:
        raise Malformed(f"a variable {PREFIX}… is wrong: {error}") from error
    _check(settings)
    return settings, environ.get(SOCKET_VARIABLE, DEFAULT_SOCKET)


def _check(settings: Settings) -> None:
    try:
        scheme, host = URL(settings.url).scheme, URL(settings.url).host
    except ValueError as error:
        raise Malformed(f"{URL_VARIABLE} is no URL") from error
    if scheme not in ("amqp", "amqps") or not host:
        raise Malformed(f"{URL_VARIABLE} must be amqp://… or amqps://… with a host")
    if scheme == "amqp" and (settings.ca_file or settings.certificate_file):
        raise Malformed(f"{URL_VARIABLE} must be amqps://… where a CA file or certificate is given")
    if unknown := settings.queues.keys() - by_spelling().keys():
        raise Malformed(f"{PREFIX}QUEUES names no request type: {', '.join(sorted(unknown))}")
    if list(settings.delays) != sorted(set(settings.delays)):
        raise Malformed(f"{PREFIX}DELAYS must grow")
    try:
        settings.tls()
    except OSError as error:
        raise Malformed(f"the files for TLS cannot be used: {error}") from error
