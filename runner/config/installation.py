"""Sections about the installation: its identity, the control plane, object storage, Sentry.

Installations have these sections already. Keys and sections that belong to other programs which share the file have the
type `Any` and the comment "others'": they are accepted and never read.
"""

from __future__ import annotations

from typing import Any

from runner.config.section import Section


class RunnerSection(Section, frozen=True):
    """This runner's identity, as atlas knows it. The private key signs result tokens."""

    id: str = ""
    host: str = ""
    private_key: str = ""
    client_id: Any = None  # others'
    client_secret: Any = None  # others'
    webhook_secret: Any = None  # others'


class DeepsourceSection(Section, frozen=True):
    """The control plane: where results go, and the key that its requests are signed with."""

    host: str = ""
    public_key: str = ""


class ObjectStorageSection(Section, frozen=True):
    """Where analyzers keep snippets."""

    provider: str = ""
    bucket: str = ""
    credential: Any = None  # others'


class SentrySection(Section, frozen=True):
    """Where jobs report their own crashes."""

    dsn: str = ""
