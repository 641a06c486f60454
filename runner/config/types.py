"""The whole configuration, and the sections of the runner's own processes: one frozen struct per section.

Keys are camelCase in the file. Defaults, units and bounds stand in the structs. The other sections are in
`runner.config.installation`, `runner.config.protocols` and `runner.config.drivers`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from runner.config.addresses import METRICS_BIND, URL_HOST
from runner.config.drivers import DriverName, KubernetesSection, LocalSection, NomadSection, PoolSettings
from runner.config.installation import DeepsourceSection, ObjectStorageSection, RunnerSection, SentrySection
from runner.config.names import Image, ObjectName
from runner.config.protocols import GrpcSection, HttpSection, Protocol, RabbitmqSection
from runner.config.section import Count, Line, Seconds, Section
from runner.jobs import Secret


class SidecarSection(Section, frozen=True):
    """The pool of processes that own the drivers, and its socket."""

    socket: str = "/run/orchestrator/runner.sock"
    workers: Count = 2
    threads: Count = 16
    """Commands in flight in each worker."""
    queue: Count = 64
    """Commands that may wait for a worker; one more is answered `busy`."""


class RemotesSection(Section, frozen=True):
    """Which clone URLs are accepted."""

    allow_file: bool = False


class SshVerifySection(Section, frozen=True):
    """The job that tries a key."""

    image: Image = ""
    """Needs /bin/sh, git and ssh; coat's image where empty."""
    host_keys: Literal["accept-new", "strict", "ignore"] = "accept-new"
    known_hosts: str = ""
    """Lines of a known_hosts file, for `strict`."""


class LimitsSection(Section, frozen=True):
    """How long a job may wait, clone and run, and how long its name is kept after its end was reported."""

    queue_seconds: Seconds = 600
    """From acceptance, or from a queue's admission, to the start of its first container."""
    admission_seconds: Annotated[int, Meta(ge=0, le=365 * 86400, description="seconds, up to a year; 0: no limit")] = 0
    """How long a queue such as Kueue may hold a job."""
    image_seconds: Seconds = 30
    """For an image or a configuration that cannot work: a wrong name, an image that is missing or denied."""
    registry_seconds: Seconds = 300
    """For a registry that may recover: a time-out, 429, 5xx."""
    clone_seconds: Seconds = 300
    retention_seconds: Seconds = 86400


class TrackerSection(Section, frozen=True):
    """The tracker, which reports to atlas the ends that jobs cannot report themselves."""

    interval_seconds: Seconds = 2
    """Between two rounds of Driver.reconcile; and between two lists of all jobs where Nomad refuses its stream."""
    publishers: Annotated[int, Meta(ge=1, le=256, description="a number from 1 to 256")] = 16
    """Results in flight to atlas."""
    orphan_seconds: Annotated[int, Meta(ge=60, le=365 * 86400, description="seconds, from 60 to a year")] = 7 * 86400
    """How long the local and Nomad drivers keep an ended job whose end could not be reported."""


class ResultsSection(Section, frozen=True):
    """How results reach atlas."""

    proxy: str = ""
    """The URL of an HTTP proxy; that of HTTPS_PROXY and NO_PROXY where empty."""
    ca_file: Line = ""
    """The authorities that sign atlas's certificate (PEM); the system's where empty."""


class LogSection(Section, frozen=True):
    """What all processes log."""

    level: Annotated[
        str,
        Meta(
            pattern=r"\A(?i:debug|info|warning|error|critical)\Z",
            description="debug, info, warning, error or critical",
        ),
    ] = "info"


class MetricsSection(Section, frozen=True):
    """Metrics, and the readiness of all parts, for this host or pod."""

    bind: Annotated[str, Meta(pattern=METRICS_BIND, description="host:port, or unix: and the path of a file")] = ""
    """Where /metrics, /livez and /readyz are served; nowhere, and nothing is recorded, where empty."""


class TelemetrySection(Section, frozen=True):
    """Traces of requests and jobs. The context of a trace is passed on without it, too."""

    otlp_endpoint: Annotated[
        str,
        Meta(
            pattern=rf"\A(?:|https?://{URL_HOST}(?:/[^\s@?#]*)?)\Z",
            max_length=2000,
            description="the URL of a collector, http(s)://host:port, without a login",
        ),
    ] = ""
    """Where spans are sent by OTLP over HTTP, without the path /v1/traces; no span is made where empty."""


class Config(Section, frozen=True):
    """The whole file, with the values that the environment adds."""

    runner: RunnerSection = RunnerSection()
    deepsource: DeepsourceSection = DeepsourceSection()
    kubernetes: KubernetesSection | None = None
    object_storage: ObjectStorageSection = ObjectStorageSection()
    sentry: SentrySection = SentrySection()
    apps: Any = None  # others'
    rqlite: Any = None  # others'
    saml: Any = None  # others'

    protocols: tuple[Protocol, ...] = ("http",)
    http: HttpSection = HttpSection()
    grpc: GrpcSection = GrpcSection()
    rabbitmq: RabbitmqSection = RabbitmqSection()
    sidecar: SidecarSection = SidecarSection()
    remotes: RemotesSection = RemotesSection()
    ssh_verify: SshVerifySection = SshVerifySection()
    limits: LimitsSection = LimitsSection()
    tracker: TrackerSection = TrackerSection()
    results: ResultsSection = ResultsSection()
    logs: LogSection = field(name="log", default=LogSection())
    metrics: MetricsSection = MetricsSection()
    telemetry: TelemetrySection = TelemetrySection()
    local: LocalSection = LocalSection()
    nomad: NomadSection = NomadSection()
    driver: DriverName | None = None
    """The driver of every pool that names none. Where unset: kubernetes if the file has that section, else local."""
    pools: dict[str, PoolSettings] = {}
    default_pool: str = "default"
    """For requests without `_meta.resource_pool`, or with a pool that `pools` does not name."""
    artifact_secret_name: ObjectName = ""
    """The existing secret behind /credentials."""

    @property
    def default_driver(self) -> DriverName:
        """The driver of every pool that does not name one."""
        if self.driver:
            return self.driver
        return "kubernetes" if self.kubernetes is not None else "local"

    @property
    def cluster(self) -> KubernetesSection:
        """The Kubernetes section, with defaults where the file has none."""
        return self.kubernetes or KubernetesSection()

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
        return self.deepsource.url

    @property
    def sentry_dsn(self) -> Secret:
        """The DSN holds a key."""
        return Secret(self.sentry.dsn)
