"""Addresses and credentials of the running cluster. Tokens are left out of `repr`."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class KubernetesAccess:
    """The Kubernetes cluster, as its administrator."""

    url: str
    ca: Path
    kubeconfig: Path  # of the administrator, a member of system:masters
    token: str = field(repr=False)
    host: str  # the address at which pods reach servers on this machine
    node: str
    kubectl: Path
    version: str


@dataclass(frozen=True)
class NomadAccess:
    """The Nomad cluster, by its management token."""

    url: str
    ca: Path
    token: str = field(repr=False)
    token_file: Path
    host: str  # the address at which containers reach servers on this machine
    nomad: Path
    version: str


@dataclass(frozen=True)
class Cluster:
    """Access to both clusters."""

    kubernetes: KubernetesAccess
    nomad: NomadAccess
