"""The configuration's types: one frozen struct per section of the file, with defaults, units and bounds.

Keys are camelCase in the file. The first sections are those that installations already have; the sections and keys
marked as others' belong to programs that share the file: they are known, and not looked at.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from runner.jobs import Secret

Seconds = Annotated[int, Meta(ge=1, le=7 * 86400, description="seconds, from 1 to 604800")]
Count = Annotated[int, Meta(ge=1, le=1024, description="a number from 1 to 1024")]
Bind = Annotated[str, Meta(pattern=r"\A\S+:[0-9]{1,5}\Z", description="host:port")]
DriverName = Literal["local", "kubernetes", "nomad", "printer", "memory"]
Protocol = Literal["http"]


class Section(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of all sections."""


class Runner(Section, frozen=True):
    """Who we are to atlas. The private key signs result tokens."""

    id: str = ""
    host: str = ""
    private_key: str = ""
    client_id: Any = None  # others'
    client_secret: Any = None  # others'
    webhook_secret: Any = None  # others'

    def __repr__(self) -> str:
        return f"Runner(id={self.id!r})"


class Deepsource(Section, frozen=True):
    """The control plane: where results go, and the key that its requests are signed with."""

    host: str = ""
    public_key: str = ""


class ImageRegistry(Section, frozen=True):
    """Where the images are; may carry a port and a path."""

    registry_url: str = ""
    pull_secret_name: str = ""


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
    allow_unauthenticated: bool = False
    """Take requests without a token. Only for a network that nobody else is on."""


class Sidecar(Section, frozen=True):
    """The pool of processes that own the drivers, and its socket."""

    socket: str = "/run/orchestrator/runner.sock"
    workers: Count = 2
    threads: Count = 16
    """Commands in hand for each worker."""
    queue: Count = 64
    """Commands that may wait for a free thread; one more is answered `busy`."""


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


class PoolSettings(Section, frozen=True):
    """Where a resource pool's jobs run. What is not set here is as in the cluster's section."""

    driver: DriverName | None = None
    namespace: str = ""
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    priority_class_name: str = ""
    queue_name: str = ""
    """The Kueue LocalQueue that admits the job."""


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
    sidecar: Sidecar = Sidecar()
    remotes: Remotes = Remotes()
    ssh_verify: SshVerify = SshVerify()
    limits: Limits = Limits()
    local: Local = Local()
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
