"""Names that a cluster takes: what it would refuse for ever is refused when the configuration is read."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta

from runner.config.addresses import TO_65535

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_QUALIFIED = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
LABEL_KEY = re.compile(rf"(?:(?=[^/]{{1,253}}/){_LABEL}(?:\.{_LABEL})*/)?{_QUALIFIED}")
LABEL_VALUE = re.compile(rf"(?:{_QUALIFIED})?")
KUBERNETES_NAMESPACE = re.compile(_LABEL)

Namespace = Annotated[
    str,
    Meta(pattern=r"\A(?:[A-Za-z0-9-]{1,128})?\Z", description="a namespace: letters, digits and '-'"),
]
"""A namespace of Nomad or of Kubernetes, which accepts fewer names."""
KubernetesNamespace = Annotated[
    str, Meta(pattern=rf"\A{_LABEL}\Z", description="a namespace: at most 63 lower-case letters, digits and '-'")
]
ObjectName = Annotated[
    str,
    Meta(
        pattern=rf"\A(?:(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*)?\Z",
        description="the name of a Kubernetes object: lower-case letters, digits, '-' and '.'",
    ),
]
_COMPONENTS = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
Image = Annotated[
    str,
    Meta(
        pattern=(
            rf"\A(?:(?:(?:{_HOST}|\[[0-9A-Fa-f:]+\])(?::{TO_65535})?/)?{_COMPONENTS}"
            r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[a-z0-9]+:[0-9a-f]{32,128})?)?\Z"
        ),
        description="the name of an image, like registry.example:5000/team/git:2.47, without a scheme",
    ),
]
"""A reference of an image; empty where there is none."""
Registry = Annotated[
    str,
    Meta(
        pattern=(
            rf"\A(?:(?:[a-z]+://)?(?:{_HOST}|\[[0-9A-Fa-f:]+\])(?::(?!0+(?:/|\Z)){TO_65535})?"
            r"(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*/*)?\Z"
        ),
        description="a registry: host, port and a lower-case path, like registry.example:5000/team",
    ),
]
