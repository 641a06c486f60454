"""What a test has to know to use the running cluster. Tokens stay out of `repr`."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class KubernetesAccess:
    """The Kubernetes cluster, as its administrator."""

    url: str
    ca: Path
    kubeconfig: Path  # of the administrator, who is in system:masters
    token: str = field(repr=False)
    host: str  # where pods reach what listens on this machine
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
    host: str  # where containers reach what listens on this machine
    nomad: Path
    version: str


@dataclass(frozen=True)
class Cluster:
    """Both."""

    kubernetes: KubernetesAccess
    nomad: NomadAccess
