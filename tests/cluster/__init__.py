"""A real Kubernetes and a real Nomad on this machine, for the tests that need one.

    python -m tests.cluster up|down|status

What runs is built or installed from package registries by their ordinary clients, once, into a
cache; the running cluster has one state directory and is shared by all test processes. This package
knows nothing of what it is used to test, and the standard library is all that it imports.
"""

from .access import Cluster, KubernetesAccess, NomadAccess
from .errors import ClusterError
from .images import Directory, File, Image
from .lifecycle import (
    describe,
    down,
    image,
    load_into_kubernetes,
    load_into_nomad,
    missing,
    status,
    up,
)

__all__ = [
    "Cluster",
    "ClusterError",
    "Directory",
    "File",
    "Image",
    "KubernetesAccess",
    "NomadAccess",
    "describe",
    "down",
    "image",
    "load_into_kubernetes",
    "load_into_nomad",
    "missing",
    "status",
    "up",
]
