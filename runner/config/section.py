"""The base of every section of the configuration file, and the bounds that several sections share."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Seconds = Annotated[int, Meta(ge=1, le=7 * 86400, description="seconds, from 1 to 604800")]
Line = Annotated[
    str, Meta(pattern=r"\A[^\x00-\x1f\x7f]*\Z", description="one line of text, without control characters")
]
Count = Annotated[int, Meta(ge=1, le=1024, description="a number from 1 to 1024")]

_UNSHOWN = frozenset(
    {"private_key", "client_secret", "webhook_secret", "credential", "dsn", "apps", "rqlite", "saml"},
)
"""Fields that are secret, or that belong to other programs and might be."""


class Section(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of all sections; silent about secrets."""

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name not in _UNSHOWN)
        return f"{type(self).__name__}({', '.join(shown)})"
