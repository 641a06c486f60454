"""Who can reach the servers: a warning where requests are accepted without a token from beyond this host."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from runner.config.types import Config


def warnings(config: Config) -> Iterator[str]:
    """A sentence for each server that accepts requests without a token on an address that other hosts may reach."""
    if not config.http.allow_unauthenticated:
        return
    for protocol, bind in (("http", config.http.bind), ("grpc", config.grpc.bind)):
        if protocol in config.protocols and not _is_loopback(bind):
            yield (
                f"{protocol} on {bind} accepts requests without a token from every host that reaches it"
                " (http.allowUnauthenticated): bind it to 127.0.0.1, or require tokens"
            )


def _is_loopback(bind: str) -> bool:
    host = bind.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
