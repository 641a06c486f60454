"""TLS and mutual TLS: which clients are accepted, and which are not."""

from __future__ import annotations

import datetime
import json
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import grpc
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.harness.processes import Process, Processes, free_port
from tests.protocols.conftest import GrpcClient
from tests.protocols.corpus import ANALYSIS

Serve = Callable[..., tuple[int, Process]]


class Identity(msgspec.Struct):
    """A certificate with its key, and what they can sign."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def chain(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def secret(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def identity(name: str, signer: Identity | None = None) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .sign(signer.key if signer else key, hashes.SHA256())
    )
    return Identity(certificate, key)


AUTHORITY, STRANGER = identity("an authority"), identity("another authority")
SERVER, CLIENT, IMPOSTOR = identity("server", AUTHORITY), identity("client", AUTHORITY), identity("client", STRANGER)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    directory = tmp_path_factory.mktemp("tls")
    contents = {"certificate": SERVER.chain, "key": SERVER.secret, "clientCa": AUTHORITY.chain}
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    return {name: str(directory / name) for name in contents}


@pytest.fixture(scope="module")
def tls_port(serve_grpc: Serve, obedient_socket: Path, files: dict[str, str]) -> int:
    return serve_grpc(obedient_socket, tls=files | {"clientCa": ""})[0]


@pytest.fixture(scope="module")
def mutual_port(serve_grpc: Serve, obedient_socket: Path, files: dict[str, str]) -> int:
    return serve_grpc(obedient_socket, tls=files)[0]


def channel(port: int, trusted: Identity = AUTHORITY, client: Identity | None = None) -> grpc.Channel:
    own = (client.secret, client.chain) if client else (None, None)
    return grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(trusted.chain, *own))


def test_calls_are_answered_over_tls(tls_port: int, token: Callable[..., str], run: str) -> None:
    with channel(tls_port) as secured:
        client = GrpcClient(tls_port, token(), channel=secured)
        assert client.send("analysis_run", ANALYSIS | {"run_id": run}).jobs


def test_a_client_with_a_known_certificate_is_accepted(mutual_port: int, token: Callable[..., str], run: str) -> None:
    with channel(mutual_port, client=CLIENT) as secured:
        client = GrpcClient(mutual_port, token(), channel=secured)
        assert client.send("analysis_run", ANALYSIS | {"run_id": run}).jobs


@pytest.mark.parametrize("client", [None, IMPOSTOR], ids=["no certificate", "another authority's"])
def test_any_other_client_is_refused(mutual_port: int, client: Identity | None) -> None:
    with channel(mutual_port, client=client) as secured, pytest.raises(grpc.RpcError) as refused:
        health_pb2_grpc.HealthStub(secured).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_plain_text_is_refused(tls_port: int) -> None:
    with grpc.insecure_channel(f"localhost:{tls_port}") as plain, pytest.raises(grpc.RpcError) as refused:
        health_pb2_grpc.HealthStub(plain).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"certificate": "/nowhere"}, "/grpc/tls/certificate"),
        ({"certificate": ""}, "/grpc/tls/certificate"),
        ({"key": "clientCa"}, "/grpc/tls/certificate"),
        ({"clientCa": "/nowhere"}, "/grpc/tls/clientCa"),
    ],
)
def test_unusable_files_end_the_server_with_the_exit_code_for_configuration(
    processes: Processes, files: dict[str, str], changed: dict[str, str], said: str
) -> None:
    bad = {name: files.get(value, value) for name, value in changed.items()}
    section = {"bind": f"127.0.0.1:{free_port()}", "tls": files | bad}
    process = processes.python("-m", "functions.grpc", ORCHESTRATOR_GRPC=json.dumps(section))
    assert process.ended() == 3
    assert said in process.said()


def test_after_failed_handshakes_the_server_still_stops_in_order(
    serve_grpc: Serve, obedient_socket: Path, files: dict[str, str]
) -> None:
    """Failed handshakes come from probes that only connect, port scans and clients without TLS."""
    port, process = serve_grpc(obedient_socket, tls=files)
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            while connection.recv(4096):
                pass
    process.signal(signal.SIGTERM)
    assert process.ended(10) == 0
    assert "Traceback" not in process.said()
