"""TLS for the gRPC door: files in, a context out. With an authority for clients, only those it signed get in."""

from __future__ import annotations

import os
import ssl

import msgspec

from runner.errors import Invalid, Problem

MINIMUM = ssl.TLSVersion.TLSv1_2
"""RFC 9113, 9.2: HTTP/2 takes no older."""


class Files(msgspec.Struct, frozen=True):
    """Paths of PEM files; all empty where the door speaks plain text."""

    certificate: str = ""
    key: str = ""
    client_ca: str = ""

    def changed(self) -> tuple[float, ...]:
        """When they were last written: what tells a rotated certificate."""
        return tuple(os.stat(path).st_mtime for path in (self.certificate, self.key, self.client_ca) if path)


def context(files: Files) -> ssl.SSLContext | None:
    """None without a certificate. Raises Invalid where the files are no good, or do not go together."""
    if not files.certificate:
        if files.key or files.client_ca:
            raise Invalid([Problem("/grpc/tls/certificate", "is required where there is a key or a client authority")])
        return None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = MINIMUM
    made.set_alpn_protocols(["h2"])
    load(made, files)
    return made


def load(into: ssl.SSLContext, files: Files) -> None:
    """Read the files, at start or once more after they have changed; handshakes from now on use them."""
    try:
        into.load_cert_chain(files.certificate, files.key or None)
    except (OSError, ssl.SSLError) as error:
        raise Invalid([Problem("/grpc/tls/certificate", f"cannot be used with its key: {error}")]) from error
    if files.client_ca:
        try:
            into.load_verify_locations(files.client_ca)
        except (OSError, ssl.SSLError) as error:
            raise Invalid([Problem("/grpc/tls/clientCa", f"cannot be used: {error}")]) from error
        into.verify_mode = ssl.CERT_REQUIRED
