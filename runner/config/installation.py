"""Sections about the installation: its identity, the control plane, object storage, Sentry.

Installations have these sections already. Keys and sections that belong to other programs which share the file have the
type `Any` and the comment "others'": they are accepted and never read.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from runner.config.section import Line, Section


class RunnerSection(Section, frozen=True):
    """This runner's identity, as atlas knows it. The private key signs result tokens."""

    id: str = ""
    host: str = ""
    private_key: str = ""
    client_id: Any = None  # others'
    client_secret: Any = None  # others'
    webhook_secret: Any = None  # others'


class DeepsourceSection(Section, frozen=True):
    """The control plane: where results go, and the keys that its requests are signed with."""

    host: str = ""
    public_key: Annotated[str | tuple[str, ...], Meta(description="a key in PEM, or a list of such keys")] = ""
    """One text with any number of PEM blocks, or a list of them. Each key counts, so that a key can be replaced."""

    @property
    def public_keys(self) -> str:
        """All keys as one text, as the functions get them."""
        return self.public_key if isinstance(self.public_key, str) else "\n".join(self.public_key)

    @property
    def url(self) -> str:
        """`host` as a URL without a trailing slash; https where the file names no scheme."""
        host = self.host.strip().rstrip("/")
        return host if not host or "://" in host else f"https://{host}"


class ObjectStorageSection(Section, frozen=True):
    """Where analyzers keep snippets."""

    provider: Line = ""
    bucket: Line = ""
    credential: Any = None  # others'


class SentrySection(Section, frozen=True):
    """Where jobs report their own crashes."""

    dsn: str = ""
