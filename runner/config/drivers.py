"""Sections of the drivers (Kubernetes, Nomad, this host) and of the resource pools that lead to them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from runner.config.addresses import URL_HOST
from runner.config.names import KubernetesNamespace, Namespace, ObjectName, Registry
from runner.config.section import Count, Line, Section

DriverName = Literal["local", "kubernetes", "nomad", "printer", "memory"]
NodePool = Annotated[
    str, Meta(pattern=r"\A[A-Za-z0-9_-]{0,128}\Z", description="a node pool: at most 128 letters, digits, '-' and '_'")
]
Datacenter = Annotated[
    str, Meta(pattern=r"\A[^\x00-\x20\x7f]+\Z", description="a datacenter or a pattern of some, without spaces")
]
Priority = Annotated[int, Meta(ge=1, le=100, description="a number from 1 to 100")]


class ImageRegistry(Section, frozen=True):
    """Where the images are. The URL may have a port and a path."""

    registry_url: Registry = ""
    pull_secret_name: ObjectName = ""
    pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = ""
    """Kubernetes' own rule where empty: `Always` for coat, whose tag is `latest`."""


class Toleration(Section, frozen=True):
    """A Kubernetes toleration, in Kubernetes' own words."""

    key: str = ""
    operator: Literal["", "Equal", "Exists", "Lt", "Gt"] = ""
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    toleration_seconds: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1, description="seconds in 64 bits")] | None = None


class KubernetesSection(Section, frozen=True):
    """The Kubernetes driver: where jobs run, and how to reach the cluster."""

    namespace: KubernetesNamespace = "default"
    node_selector: dict[str, str] = {}
    image_registry: ImageRegistry = ImageRegistry()
    kubeconfig: Line = ""
    """A kubeconfig's path. Where empty: the pod's own service account, else $KUBECONFIG or ~/.kube/config."""
    context: Line = ""
    """The kubeconfig's context; its current one where empty."""


class LocalImage(Section, frozen=True):
    """The command that replaces an image on this host. Without one, the container's own command is run."""

    command: tuple[Annotated[str, Meta(pattern=r"\A[^\x00]*\Z", description="text without NUL")], ...] = ()
    secret_arguments: Literal["reference", "expand"] = "reference"  # noqa: S105  (no password)
    """A host's argument lists can be read by every user of it. `reference` passes a secret argument as `$(NAME)`
    with the value in the environment, for programs that expand it themselves; `expand` passes the value."""


class LocalSection(Section, frozen=True):
    """The driver that runs jobs on this host."""

    directory: Annotated[
        str,
        Meta(
            pattern=r"\A(?![~$\s])[^\x00-\x1f\x7f]+\Z",
            description="the path of a directory, without control characters; ~ and $ are not replaced",
        ),
    ] = "/var/lib/orchestrator/jobs"
    parallelism: Count = 2
    images: dict[str, LocalImage] = {}
    """The program for each image. A key is a glob over the last part of the image's name, without registry and tag."""


class NomadConstraint(Section, frozen=True):
    """A Nomad constraint, in Nomad's own words: `attribute: ${attr.cpu.arch}, value: amd64`."""

    attribute: str
    value: str = ""
    operator: Literal[
        "=", "==", "is", "!=", "not", ">", ">=", "<", "<=", "distinct_hosts", "distinct_property", "regexp", "version",
        "semver", "set_contains", "set_contains_all", "set_contains_any", "is_set", "is_not_set",
    ] = "="  # fmt: skip


class NomadSection(Section, frozen=True):
    """The Nomad driver. A pool may name another namespace, node pool, datacenters, priority and constraints."""

    address: Annotated[
        str,
        Meta(pattern=rf"\Ahttps?://{URL_HOST}/?\Z", description="http(s)://host:port"),
    ] = "https://127.0.0.1:4646"
    region: Line = ""
    """The address's own where empty."""
    namespace: Namespace = "default"
    node_pool: NodePool = "default"
    datacenters: Annotated[tuple[Datacenter, ...], Meta(min_length=1, description="a list of at least one")] = ("*",)
    priority: Priority = 50
    constraints: tuple[NomadConstraint, ...] = ()
    ca_file: Line = ""
    """The authorities that sign the servers' certificates (PEM); the system's where empty. Always verified."""
    cert_file: Line = ""
    key_file: Line = ""
    """With `cert_file`: the client certificate for agents that verify their clients."""
    token_file: Line = ""
    """Holds an ACL token; read again whenever Nomad refuses the token that was read before."""
    task_driver: Literal["docker", "exec", "raw_exec"] = "docker"
    images: dict[str, LocalImage] = {}
    """With `exec` and `raw_exec`: the command that replaces an image, as in the local driver's section."""
    user: Line = ""
    """With `exec` and `raw_exec`: the user that programs run as; Nomad's own choice where empty."""
    core_mhz: Annotated[int, Meta(ge=100, le=100_000, description="MHz, from 100 to 100000")] = 2000
    """MHz of one core (1000 millicores) on these nodes; Nomad counts CPU in MHz."""
    credentials_variable: Annotated[
        str,
        Meta(
            pattern=r"\A[A-Za-z0-9_~/-]{0,128}\Z",
            description="the path of a Variable: at most 128 letters, digits, '-', '_', '~' and '/'",
        ),
    ] = ""
    """The Variable whose item `credentials` becomes /credentials/credentials; jobs must be allowed to read it."""


class PoolSettings(Section, frozen=True):
    """Where a resource pool's jobs run. What is not set here is as in the cluster's section."""

    driver: DriverName | None = None
    namespace: Namespace = ""
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    priority_class_name: ObjectName = ""
    queue_name: ObjectName = ""
    """The Kueue LocalQueue that admits the job."""
    node_pool: NodePool = ""
    datacenters: tuple[Datacenter, ...] = ()
    priority: Priority | None = None
    constraints: tuple[NomadConstraint, ...] = ()
