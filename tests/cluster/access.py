"""Addresses and credentials of the running cluster. Tokens are not part of `repr`."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class KubernetesAccess:
    """Access to the Kubernetes cluster as its administrator."""

    url: str
    ca: Path
    kubeconfig: Path  # of the administrator, in the group system:masters
    token: str = field(repr=False)
    host: str  # this machine's address, as pods reach it
    node: str
    kubectl: Path
    version: str


@dataclass(frozen=True)
class NomadAccess:
    """Access to the Nomad cluster by its management token."""

    url: str
    ca: Path
    token: str = field(repr=False)
    token_file: Path
    host: str  # this machine's address, as containers reach it
    nomad: Path
    version: str


@dataclass(frozen=True)
class Cluster:
    """Access to both clusters."""

    kubernetes: KubernetesAccess
    nomad: NomadAccess
