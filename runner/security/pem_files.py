"""Files of certificates and keys: whether a server of this host could load them. No content is quoted.

Each function gives the end of a sentence that begins with the setting's name; empty if there is no problem.
"""

from __future__ import annotations

import os
import ssl

from runner.security import pem


def unreadable(path: str) -> str:
    """Why the file cannot be read. Only a regular one is tried: a pipe could hang, and is empty when read again."""
    if os.path.isfile(path) and os.access(path, os.R_OK):
        return ""
    return f"names a file that cannot be read: {path}"


def certificates_problem(path: str) -> str:
    """Why the file at `path` gives no certificate in PEM."""
    return unreadable(path) or ("" if _certificates(cafile=path) else f"must name a file of PEM certificates: {path}")


def pair_problem(certificate: str, key: str) -> str:
    """Why a certificate with its chain, and a private key, cannot be loaded together from these files.

    `key` is empty if one file has both.
    """
    if problem := certificates_problem(certificate) or (unreadable(key) if key else ""):
        return problem
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key or None, password="")
    except (OSError, ValueError):
        return f"needs a private key in PEM, not encrypted, that belongs to it: {key or certificate}"
    return ""


def are_certificates(text: str) -> bool:
    """Whether the text has at least one certificate in PEM, and no broken one."""
    return _certificates(cadata=text.encode("ascii", "ignore").decode())


def is_private_key(text: str) -> bool:
    """Whether the text has a private key in PEM that is not encrypted, of whatever kind."""
    return any(block.label.endswith("PRIVATE KEY") and not block.encrypted for block in pem.blocks(text) or ())


def _certificates(*, cafile: str | None = None, cadata: str | None = None) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=cafile, cadata=cadata)
    except (OSError, ValueError, TypeError):
        return False
    return context.cert_store_stats()["x509"] > 0
