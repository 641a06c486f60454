"""TLS for the gRPC server: paths of files in, a context out. `grpc.tls.clientCa` makes client certificates required."""

from __future__ import annotations

import os
import ssl

from runner.config.protocols import GrpcTls
from runner.errors import Invalid, Problem

MINIMUM = ssl.TLSVersion.TLSv1_2
"""The oldest version that HTTP/2 allows (RFC 9113, 9.2)."""


def written(files: GrpcTls) -> tuple[float, ...]:
    """When each file was last written (seconds since 1970); changes when a certificate is rotated."""
    return tuple(os.stat(path).st_mtime for path in (files.certificate, files.key, files.client_ca) if path)


def context(files: GrpcTls) -> ssl.SSLContext | None:
    """None without a certificate: plain text. Raises Invalid if the files cannot be used, or not together."""
    if not files.certificate:
        return None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = MINIMUM
    made.set_alpn_protocols(["h2"])
    load(made, files)
    return made


def load(into: ssl.SSLContext, files: GrpcTls) -> None:
    """Read the files, at the start and again after they have changed; later handshakes use them. Raises Invalid."""
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
