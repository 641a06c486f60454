"""A real Kubernetes and a real Nomad on this machine, for the tests that need one.

    python -m tests.cluster up|down|status|build

The programs are built or installed once, from package registries by their ordinary clients, into a
cache. The running cluster has one state directory, and all test processes share it. This package
imports the standard library only, and nothing of the code under test.
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
