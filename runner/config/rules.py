"""Rules of the configuration that no single value's type can express, by section and between sections.

Each rule gives problems with the JSON pointer of the whole file, also where one section is read alone
by its own process. Parts that could not be read are None here; they have been reported already.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from runner.config import placement
from runner.config.addresses import collide, is_bind, is_url
from runner.config.drivers import NomadSection
from runner.config.installation import DeepsourceSection, RunnerSection, SentrySection
from runner.config.protocols import GrpcSection, HttpSection, RabbitmqSection
from runner.config.types import Config, ResultsSection, SshVerifySection
from runner.errors import Problem
from runner.request_types import by_spelling
from runner.runtime import traces
from runner.security import pem
from runner.security.pem_files import unreadable

MAX_NAME_BYTES = 200
_PROXIES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


def problems(config: Config) -> Iterator[Problem]:
    """Every broken rule of the whole file."""
    by_section: dict[str, Callable[[Any], Iterator[Problem]]] = {
        "runner": _runner_problems,
        "sentry": _sentry_problems,
        "http": http_problems,
        "grpc": grpc_problems,
        "rabbitmq": rabbitmq_problems,
        "nomad": _nomad_problems,
        "results": _results_problems,
    }
    for name, rules in by_section.items():
        if (section := getattr(config, name)) is not None:
            yield from rules(section)
    if config.deepsource is not None:
        yield from _deepsource_problems(config.deepsource, config.http)
    if config.pools is not None and config.default_pool not in (None, "default", *config.pools):
        yield Problem("/defaultPool", f"names no pool of this file; known: {', '.join(config.pools) or 'none'}")
    if config.sidecar is not None:
        yield from _sidecar_problems(config)
    if config.protocols == ():
        yield Problem("/protocols", "must list at least one protocol: http, grpc or amqp")
    yield from placement.problems(config)
    yield from _conflict_problems(config)


def http_problems(http: HttpSection) -> Iterator[Problem]:
    """The section `http`: its address can exist."""
    yield from _bind_problems("/http/bind", http.bind)


def _bind_problems(at: str, bind: str | None) -> Iterator[Problem]:
    if bind and not bind.startswith("unix:") and not is_bind(bind):
        yield Problem(at, "must be host:port, with an IP address or a name that can exist")


def grpc_problems(grpc: GrpcSection) -> Iterator[Problem]:
    """The section `grpc`: a key needs its certificate, and this process must be able to read the files."""
    yield from _bind_problems("/grpc/bind", grpc.bind)
    if (tls := grpc.tls) is None:
        return
    if tls.certificate == "" and (tls.key or tls.client_ca):
        yield Problem("/grpc/tls/certificate", "is required where grpc.tls has a key or a clientCa")
    for name, path in (("certificate", tls.certificate), ("key", tls.key), ("clientCa", tls.client_ca)):
        if path and (problem := unreadable(path)):
            yield Problem(f"/grpc/tls/{name}", problem)


def rabbitmq_problems(rabbitmq: RabbitmqSection) -> Iterator[Problem]:
    """The section `rabbitmq`: delays grow, and no two request types share a queue."""
    if rabbitmq.delays is not None and None not in rabbitmq.delays and not _grow(rabbitmq.delays):
        yield Problem("/rabbitmq/delays", "must grow from one to the next")
    yield from _name_problems(rabbitmq)
    meant: dict[str, str] = {}
    for name, row in by_spelling().items():
        place = (rabbitmq.queues or {}).get(name)
        if meant.setdefault((place and place.queue) or name, row.name) != row.name:
            yield Problem(f"/rabbitmq/queues/{name}/queue", "must not be another request type's queue")


def _name_problems(rabbitmq: RabbitmqSection) -> Iterator[Problem]:
    """AMQP's names have at most 255 bytes, and suffixes are appended to these. Those in `amq.` cannot be declared."""
    named = {"/rabbitmq/exchange": rabbitmq.exchange}
    for name, each in (rabbitmq.queues or {}).items():
        if each is not None:
            named |= {f"/rabbitmq/queues/{name}/queue": each.queue, f"/rabbitmq/queues/{name}/key": each.key}
    for at, value in named.items():
        if value and len(value.encode()) > MAX_NAME_BYTES:
            yield Problem(at, f"must have at most {MAX_NAME_BYTES} bytes in UTF-8")
        if value and value.startswith("amq.") and rabbitmq.declare and not at.endswith("/key"):
            yield Problem(
                at, "must not begin with amq., which the broker keeps for itself, where rabbitmq.declare is true"
            )


def _grow(delays: tuple[int, ...]) -> bool:
    return list(delays) == sorted(set(delays))


def _runner_problems(runner: RunnerSection) -> Iterator[Problem]:
    if runner.id is not None and not runner.id.strip():
        yield Problem("/runner/id", "is required: it is who we are to atlas")
    elif runner.id is not None and not runner.id.isprintable():
        yield Problem("/runner/id", "must be one line without control characters: it stands in every result token")
    if runner.private_key == "":
        yield Problem("/runner/privateKey", "is required (or ORCHESTRATOR_PRIVATE_KEY): it signs result tokens")
    elif runner.private_key is not None and not pem.begins(runner.private_key):
        yield Problem("/runner/privateKey", pem.kind_of(runner.private_key) or "must be an RSA private key in PEM")


def _deepsource_problems(deepsource: DeepsourceSection, http: HttpSection | None) -> Iterator[Problem]:
    if deepsource.host == "":
        yield Problem("/deepsource/host", "is required: results go there")
    elif deepsource.host is not None and (message := _host_objection(deepsource.host.strip())):
        yield Problem("/deepsource/host", message)
    if deepsource.public_key is None:
        return
    if not deepsource.public_keys.strip() and not (http and http.allow_unauthenticated):
        yield Problem(
            "/deepsource/publicKey",
            "is required (or ORCHESTRATOR_PUBLIC_KEY): it verifies atlas's requests; http.allowUnauthenticated: true"
            " takes requests from anybody",
        )
    elif isinstance(deepsource.public_key, str):
        yield from _public_key_problems("/deepsource/publicKey", deepsource.public_key)
    else:
        for index, key in enumerate(deepsource.public_key):
            yield from _public_key_problems(f"/deepsource/publicKey/{index}", key)


def _public_key_problems(at: str, key: str) -> Iterator[Problem]:
    if key and not pem.begins(key):
        yield Problem(at, pem.kind_of(key) or "must be an RSA public key in PEM")


_HOST = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?"
    r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_][A-Za-z0-9._-]{0,253})(?::[0-9]{1,5})?(?:/[^\s?#]*)?"
)


def _host_objection(host: str) -> str:
    """Why results cannot go to `host`. It may be a URL, and its login is not quoted."""
    match = _HOST.fullmatch(host)
    if "@" in host.rpartition("://")[2].partition("/")[0]:
        return "must have no user and no password: each result is sent with a token"
    scheme = (match and match["scheme"]) or ""
    if match is None or not is_url(host if scheme else f"https://{host}", (scheme.lower() or "https",)):
        return "must be a host or its URL, like https://atlas.example, without query or fragment"
    if scheme.lower() not in ("", "http", "https"):
        return "must be an https or http URL"
    return ""


def _sentry_problems(sentry: SentrySection) -> Iterator[Problem]:
    """A job's Sentry client would refuse it. It has a key, so it is not quoted."""
    if sentry.dsn and not _is_dsn(sentry.dsn):
        yield Problem("/sentry/dsn", "must be a DSN, like https://KEY@sentry.example/PROJECT")


def _is_dsn(dsn: str) -> bool:
    if not is_url(dsn, ("https", "http")):
        return False
    parts = urlsplit(dsn)
    return bool(parts.username) and bool(parts.path.rpartition("/")[2])


def _results_problems(results: ResultsSection) -> Iterator[Problem]:
    """libcurl would fail with each result. The proxy's URL may have a password, so it is not quoted."""
    if results.proxy and not is_url(results.proxy, _PROXIES):
        yield Problem("/results/proxy", f"must be a URL with a host and one of these schemes: {', '.join(_PROXIES)}")


def _conflict_problems(config: Config) -> Iterator[Problem]:
    """Values that exclude each other."""
    if config.metrics is not None:
        yield from _metrics_problems(config)
    if config.telemetry is not None and config.telemetry.otlp_endpoint:
        yield from _endpoint_problems(config.telemetry.otlp_endpoint)
    if (
        config.ssh_verify is not None
        and config.ssh_verify.host_keys == "strict"
        and config.ssh_verify.known_hosts == ""
    ):
        yield Problem(
            "/sshVerify/knownHosts", "is required where sshVerify.hostKeys is strict: no host would be trusted"
        )
    if config.ssh_verify is not None and config.ssh_verify.known_hosts and not _is_known_hosts(config.ssh_verify):
        yield Problem("/sshVerify/knownHosts", "must have a line of host names, a type of key and a key (sshd(8))")
    if config.http is None or config.grpc is None or not {"http", "grpc"} <= set(config.protocols or ()):
        return
    if _collide(config.http.bind, config.grpc.bind):
        yield Problem(
            "/grpc/bind", f"must have another port than http.bind ({config.http.bind}), since both protocols are served"
        )


_KNOWN_HOST = re.compile(
    r"^(?:@[a-z-]+[ \t]+)?[^\s#@]\S*[ \t]+(?:ssh|ecdsa|sk)-\S+[ \t]+[A-Za-z0-9+/=]{4,}", re.MULTILINE
)


def _is_known_hosts(section: SshVerifySection) -> bool:
    return _KNOWN_HOST.search(section.known_hosts) is not None


def _endpoint_problems(endpoint: str) -> Iterator[Problem]:
    if not is_url(endpoint, ("https", "http")):
        yield Problem("/telemetry/otlpEndpoint", "must have a host that can exist, and a port that is not 0")
    elif not traces.can_export():
        yield Problem(
            "/telemetry/otlpEndpoint",
            "needs packages that are not installed: run `pip install -r requirements-telemetry.txt` in the environment"
            " of this process, or remove the key",
        )


def _metrics_problems(config: Config) -> Iterator[Problem]:
    bind = config.metrics.bind
    yield from _bind_problems("/metrics/bind", bind)
    if bind and config.sidecar is not None and bind == f"unix:{config.sidecar.socket}":
        yield Problem("/metrics/bind", "must be another file than sidecar.socket")
    served = {name: getattr(config, name) for name in ("http", "grpc") if name in (config.protocols or ())}
    for name, section in served.items():
        if section is not None and _collide(bind, section.bind):
            yield Problem("/metrics/bind", f"must have another port than {name}.bind ({section.bind})")


def _collide(one: str | None, other: str | None) -> bool:
    """False for what could not be read, or has been reported already."""
    if not one or not other or "unix:" in (one[:5], other[:5]):
        return False
    return is_bind(one) and is_bind(other) and collide(one, other)


def _sidecar_problems(config: Config) -> Iterator[Problem]:
    (socket, workers) = (config.sidecar.socket, config.sidecar.workers)
    if socket == "" or (
        socket
        and (socket[0] in "~$@" or socket.startswith("unix:") or socket.endswith("/") or not socket.isprintable())
    ):
        yield Problem("/sidecar/socket", "must be the path of a file, without unix: or @; ~ and $ are not replaced")
    if socket is not None and len(socket.encode()) > 100:
        yield Problem("/sidecar/socket", "must be at most 100 bytes long: the kernel takes no longer socket path")
    if None not in (config.pools, workers) and workers > 1 and "memory" in config.drivers():
        yield Problem("/sidecar/workers", "must be 1 with the memory driver, whose jobs live in one process")


def _nomad_problems(nomad: NomadSection) -> Iterator[Problem]:
    if nomad.address and not is_url(nomad.address, ("https", "http")):
        yield Problem("/nomad/address", "must have a host that can exist, and a port that is not 0")
    for one, other, missing in (
        ("keyFile", nomad.cert_file, nomad.key_file),
        ("certFile", nomad.key_file, nomad.cert_file),
    ):
        if other and missing == "":
            yield Problem(f"/nomad/{one}", "is required with the other of certFile and keyFile")
    for name, path in (("caFile", nomad.ca_file), ("certFile", nomad.cert_file), ("keyFile", nomad.key_file)):
        if path and (problem := unreadable(path)):
            yield Problem(f"/nomad/{name}", problem)
