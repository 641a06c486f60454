"""The configuration's types: one frozen struct per section of the file, with defaults, units and bounds.

Keys are camelCase in the file. The first sections are those that installations already have; the sections and keys
marked as others' belong to programs that share the file: they are known, and not looked at.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from runner.jobs import Secret
from runner.request_types import by_spelling

Seconds = Annotated[int, Meta(ge=1, le=7 * 86400, description="seconds, from 1 to 604800")]
Count = Annotated[int, Meta(ge=1, le=1024, description="a number from 1 to 1024")]
Priority = Annotated[int, Meta(ge=1, le=100, description="a number from 1 to 100")]
Bind = Annotated[str, Meta(pattern=r"\A\S+:[0-9]{1,5}\Z", description="host:port")]
DriverName = Literal["local", "kubernetes", "nomad", "printer", "memory"]
Protocol = Literal["http", "grpc", "amqp"]
RabbitmqName = Annotated[str, Meta(min_length=1, max_length=200, description="a name of 1 to 200 characters")]
RequestTypeName = Annotated[
    str,
    Meta(
        pattern=rf"\A(?:{'|'.join(map(re.escape, by_spelling()))})\Z",
        description=f"a request type: {', '.join(by_spelling())}",
    ),
]


_UNSHOWN = frozenset(
    {"private_key", "client_secret", "webhook_secret", "credential", "dsn", "apps", "rqlite", "saml"},
)
"""Fields that are secret, or others' and might be."""


class Section(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of all sections; silent about secrets."""

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name not in _UNSHOWN)
        return f"{type(self).__name__}({', '.join(shown)})"


class Runner(Section, frozen=True):
    """Who we are to atlas. The private key signs result tokens."""

    id: str = ""
    host: str = ""
    private_key: str = ""
    client_id: Any = None  # others'
    client_secret: Any = None  # others'
    webhook_secret: Any = None  # others'


class Deepsource(Section, frozen=True):
    """The control plane: where results go, and the key that its requests are signed with."""

    host: str = ""
    public_key: str = ""


class ImageRegistry(Section, frozen=True):
    """Where the images are; may carry a port and a path."""

    registry_url: str = ""
    pull_secret_name: str = ""
    pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = ""
    """Kubernetes' own rule where empty: `Always` for coat, whose tag is `latest`."""


class Toleration(Section, frozen=True):
    """A Kubernetes toleration, in Kubernetes' own words."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class Kubernetes(Section, frozen=True):
    """The Kubernetes cluster's part."""

    namespace: str = "default"
    node_selector: dict[str, str] = {}
    image_registry: ImageRegistry = ImageRegistry()
    kubeconfig: str = ""
    """A kubeconfig's path. Where empty: the pod's own service account, else $KUBECONFIG or ~/.kube/config."""
    context: str = ""
    """The kubeconfig's context; its current one where empty."""


class ObjectStorage(Section, frozen=True):
    """Where analyzers keep snippets."""

    provider: str = ""
    bucket: str = ""
    credential: Any = None  # others'


class Sentry(Section, frozen=True):
    """Where jobs report their own crashes."""

    dsn: str = ""


class Http(Section, frozen=True):
    """The HTTP door."""

    bind: Bind = "127.0.0.1:8080"
    workers: Count = 2
    threads: Count = 8
    """Tasks in hand for each worker."""
    allow_unauthenticated: bool = False
    """Take requests without a token. Only for a network that nobody else is on."""


class GrpcTls(Section, frozen=True):
    """Paths of PEM files. They are read again after they have changed."""

    certificate: str = ""
    """Ours, with the chain that leads to its authority; plain text where empty."""
    key: str = ""
    """The certificate's, where its own file has none."""
    client_ca: str = ""
    """Who signs the certificates of callers; with it, nobody else gets in (mutual TLS)."""


class Grpc(Section, frozen=True):
    """The gRPC door. Who needs a token is settled for all doors by `http.allowUnauthenticated`."""

    bind: Bind = "127.0.0.1:50051"
    workers: Count = 2
    """Processes, which share the port."""
    concurrency: Count = 16
    """Calls that one process hands to the sidecar at once; more wait for one of them to end."""
    tls: GrpcTls = GrpcTls()


class RabbitmqQueue(Section, frozen=True):
    """Where one request type's messages come in; both names are the request type's own where empty."""

    queue: Annotated[str, Meta(max_length=200)] = ""
    key: Annotated[str, Meta(max_length=200)] = ""


class Rabbitmq(Section, frozen=True):
    """The RabbitMQ door. The broker's URL and credentials are in the environment only."""

    exchange: RabbitmqName = "atlas-jobs"
    queues: dict[RequestTypeName, RabbitmqQueue] = {}
    queue_type: Literal["classic", "quorum"] = "classic"
    """Of the queues that are made here; those that exist are taken as they are."""
    declare: bool = True
    """Make what is missing on the broker; else only check that all of it is there."""
    prefetch: Count = 32
    """Messages of each queue in hand at once."""
    threads: Count = 16
    """Commands in hand at once, of all queues together."""
    delays: Annotated[tuple[Seconds, ...], Meta(min_length=1, max_length=16, description="a list of 1 to 16")] = (
        1, 2, 5, 10, 30, 60, 120, 300,
    )  # fmt: skip
    """Seconds, growing: how long a message waits after its first, second … failure."""
    health_file: str = ""
    """Is there, and fresh, as long as messages are consumed."""


class Sidecar(Section, frozen=True):
    """The pool of processes that own the drivers, and its socket."""

    socket: str = "/run/orchestrator/runner.sock"
    workers: Count = 2
    threads: Count = 16
    """Commands in hand for each worker."""
    queue: Count = 64
    """Commands that may wait for a worker; one more is answered `busy`."""


class Remotes(Section, frozen=True):
    """Which clone URLs are taken."""

    allow_file: bool = False


class SshVerify(Section, frozen=True):
    """The job that tries a key."""

    image: str = ""
    """Needs /bin/sh, git and ssh; coat's image where empty."""
    host_keys: Literal["accept-new", "strict", "ignore"] = "accept-new"
    known_hosts: str = ""
    """Lines of a known_hosts file, for `strict`."""


class Limits(Section, frozen=True):
    """How long a job may wait, clone and run, and how long its name is kept after its end was reported."""

    queue_seconds: Seconds = 600
    clone_seconds: Seconds = 300
    retention_seconds: Seconds = 86400


class Tracking(Section, frozen=True):
    """The tracker, which tells atlas of the ends that jobs cannot tell themselves."""

    interval_seconds: Seconds = 2
    """Between two looks at all jobs."""
    orphan_seconds: Annotated[int, Meta(ge=60, le=365 * 86400, description="seconds, from 60 to a year")] = 7 * 86400
    """How long the local driver keeps an ended job whose end could not be reported."""


class LocalImage(Section, frozen=True):
    """What stands for an image on this host. Without a command, the container's own command is run."""

    command: tuple[str, ...] = ()
    secret_arguments: Literal["reference", "expand"] = "reference"  # noqa: S105  (no password)
    """A host's argument lists can be read by every user of it. `reference` passes a secret argument as `$(NAME)`
    with the value in the environment, for programs that expand it themselves; `expand` passes the value."""


class Local(Section, frozen=True):
    """The driver that runs jobs on this host."""

    directory: str = "/var/lib/orchestrator/jobs"
    parallelism: Count = 2
    images: dict[str, LocalImage] = {}
    """By image: a glob over the last part of its name, without registry and tag."""


class NomadConstraint(Section, frozen=True):
    """A Nomad constraint, in Nomad's own words: `attribute: ${attr.cpu.arch}, value: amd64`."""

    attribute: str
    value: str = ""
    operator: str = "="


class Nomad(Section, frozen=True):
    """The Nomad cluster's part. Pools may name another namespace, node pool, datacenters, priority, constraints."""

    address: Annotated[str, Meta(pattern=r"\Ahttps?://[^/]+/?\Z", description="http(s)://host:port")] = (
        "https://127.0.0.1:4646"
    )
    region: str = ""
    """The address's own where empty."""
    namespace: str = "default"
    node_pool: str = "default"
    datacenters: tuple[str, ...] = ("*",)
    priority: Priority = 50
    constraints: tuple[NomadConstraint, ...] = ()
    ca_file: str = ""
    """Whom to trust about the address (PEM); the system's authorities where empty. Certificates are always verified."""
    cert_file: str = ""
    key_file: str = ""
    """With `cert_file`: how we show ourselves to agents that verify their clients."""
    token_file: str = ""
    """Holds an ACL token; read again whenever Nomad refuses the one in hand."""
    task_driver: Literal["docker", "exec", "raw_exec"] = "docker"
    images: dict[str, LocalImage] = {}
    """With `exec` and `raw_exec`: what stands for an image on the nodes, as in the local driver's section."""
    user: str = ""
    """With `exec` and `raw_exec`: whom the programs run as; Nomad's own choice where empty."""
    core_mhz: Annotated[int, Meta(ge=100, le=100_000, description="MHz, from 100 to 100000")] = 2000
    """What a thousand millicores are on these nodes; Nomad counts CPU in MHz."""
    credentials_variable: str = ""
    """The Variable whose item `credentials` becomes /credentials/credentials; jobs must be allowed to read it."""


class PoolSettings(Section, frozen=True):
    """Where a resource pool's jobs run. What is not set here is as in the cluster's section."""

    driver: DriverName | None = None
    namespace: str = ""
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    priority_class_name: str = ""
    queue_name: str = ""
    """The Kueue LocalQueue that admits the job."""
    node_pool: str = ""
    datacenters: tuple[str, ...] = ()
    priority: Priority | None = None
    constraints: tuple[NomadConstraint, ...] = ()


class Config(Section, frozen=True):
    """The whole file, with what the environment adds."""

    runner: Runner = Runner()
    deepsource: Deepsource = Deepsource()
    kubernetes: Kubernetes | None = None
    object_storage: ObjectStorage = ObjectStorage()
    sentry: Sentry = Sentry()
    apps: Any = None  # others'
    rqlite: Any = None  # others'
    saml: Any = None  # others'

    protocols: tuple[Protocol, ...] = ("http",)
    http: Http = Http()
    grpc: Grpc = Grpc()
    rabbitmq: Rabbitmq = Rabbitmq()
    sidecar: Sidecar = Sidecar()
    remotes: Remotes = Remotes()
    ssh_verify: SshVerify = SshVerify()
    limits: Limits = Limits()
    tracker: Tracking = Tracking()
    local: Local = Local()
    nomad: Nomad = Nomad()
    driver: DriverName | None = None
    """Runs what no pool says otherwise. Where unset: kubernetes if the file has that section, else local."""
    pools: dict[str, PoolSettings] = {}
    default_pool: str = "default"
    """For requests without `_meta.resource_pool`, or with a pool that `pools` does not name."""
    artifact_secret_name: str = ""
    """The existing secret behind /credentials."""

    @property
    def default_driver(self) -> DriverName:
        """The driver of every pool that does not name one."""
        if self.driver:
            return self.driver
        return "kubernetes" if self.kubernetes is not None else "local"

    @property
    def cluster(self) -> Kubernetes:
        """The Kubernetes section, with defaults where the file has none."""
        return self.kubernetes or Kubernetes()

    def pool(self, requested: str) -> str:
        """The pool that a request's `_meta.resource_pool` leads to."""
        return requested if requested in self.pools else self.default_pool

    def driver_of(self, pool: str) -> DriverName:
        """The driver that runs a pool's jobs."""
        settings = self.pools.get(pool)
        return (settings.driver if settings else None) or self.default_driver

    def queued(self, pool: str) -> bool:
        """Whether a queue may hold a pool's jobs for as long as it likes."""
        settings = self.pools.get(pool)
        return bool(settings and settings.queue_name)

    def pool_names(self) -> tuple[str, ...]:
        """Every pool that a request can come to, the default one first."""
        return tuple(dict.fromkeys((self.default_pool, *self.pools)))

    def drivers(self) -> tuple[DriverName, ...]:
        """Every driver that some pool leads to, the default one first."""
        return tuple(dict.fromkeys(map(self.driver_of, self.pool_names())))

    @property
    def atlas_url(self) -> str:
        """`deepsource.host` as a URL without a trailing slash; https where the file names no scheme."""
        host = self.deepsource.host.rstrip("/")
        return host if not host or "://" in host else f"https://{host}"

    @property
    def sentry_dsn(self) -> Secret:
        """The DSN holds a key."""
        return Secret(self.sentry.dsn)
