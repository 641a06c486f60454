"""Keys and certificates, made by openssl. Each cluster has its own authority, so tests verify TLS.

The extensions are those that Python's VERIFY_X509_STRICT (the default since 3.13) and Go require:
key usage and key identifiers everywhere, subject alternative names on servers (RFC 5280, 4.2).
"""

from dataclasses import dataclass
from pathlib import Path

from .machine.programs import run

_DAYS = "3650"
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256")


@dataclass(frozen=True)
class Pair:
    """The files of a certificate and its key."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """A certificate authority in a directory of its own."""

    directory: Path
    name: str

    @property
    def pair(self) -> Pair:
        """The authority's own certificate and key."""
        return _pair(self.directory, "ca")

    def create(self) -> None:
        """Create the authority's key and certificate, unless they exist."""
        if self.pair.certificate.exists():
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        _request(
            self.pair,
            f"/CN={self.name}",
            "basicConstraints=critical,CA:TRUE",
            "keyUsage=critical,keyCertSign,cRLSign",
            "subjectKeyIdentifier=hash",
        )

    def issue(self, name: str, *, group: str = "", hosts: tuple[str, ...] = ()) -> Pair:
        """Create a certificate with common name `name` and organization `group`, unless it exists.

        Kubernetes takes user and group from these two (Authenticating, X509 client certificates).
        `hosts` are the server's DNS names and IP addresses. A certificate without hosts is for
        clients only.
        """
        pair = _pair(self.directory, name.replace(":", "-"))
        if not pair.certificate.exists():
            _request(
                pair,
                f"/O={group}/CN={name}" if group else f"/CN={name}",
                "basicConstraints=critical,CA:FALSE",
                "keyUsage=critical,digitalSignature",
                f"extendedKeyUsage={'serverAuth,' if hosts else ''}clientAuth",
                "subjectKeyIdentifier=hash",
                "authorityKeyIdentifier=keyid",
                *([f"subjectAltName={','.join(map(_alternative, hosts))}"] if hosts else []),
                authority=self.pair,
            )
        return pair


def signing_key(path: Path) -> Path:
    """Create an RSA key without a certificate, for service account tokens, unless it exists."""
    if not path.exists():
        new = path.with_suffix(".new")
        run("openssl", "genrsa", "-out", new, "2048")
        new.replace(path)
    return path


def _request(pair: Pair, subject: str, *extensions: str, authority: Pair | None = None) -> None:
    """Create a key and its certificate, signed by `authority`, or self-signed without one."""
    signer = ("-CA", authority.certificate, "-CAkey", authority.key) if authority else ()
    added = [word for extension in extensions for word in ("-addext", extension)]
    new = pair.certificate.with_suffix(".new")
    run(
        *("openssl", "req", "-x509", *_NEW_KEY, "-days", _DAYS, "-subj", subject),
        *("-config", "/dev/null"),  # no extensions but those given here
        *("-keyout", pair.key, "-out", new, *signer, *added),
    )
    new.replace(pair.certificate)  # last, so that the certificate exists only with a complete key


def _alternative(host: str) -> str:
    return f"IP:{host}" if host.replace(".", "").isdigit() else f"DNS:{host}"


def _pair(directory: Path, stem: str) -> Pair:
    return Pair(certificate=directory / f"{stem}.crt", key=directory / f"{stem}.key")
