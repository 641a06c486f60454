"""runner.config.types: what every key is where the file does not say, and where pools lead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from runner.config import drivers, protocols
from runner.config.reading import read
from runner.config.section import Section
from runner.config.types import Config
from runner.errors import Invalid

DEFAULTS = {
    "runner.id": "",
    "runner.host": "",
    "runner.privateKey": "",
    "runner.clientId": None,
    "runner.clientSecret": None,
    "runner.webhookSecret": None,
    "deepsource.host": "",
    "deepsource.publicKey": "",
    "kubernetes": None,
    "objectStorage.provider": "",
    "objectStorage.bucket": "",
    "objectStorage.credential": None,
    "sentry.dsn": "",
    "apps": None,
    "rqlite": None,
    "saml": None,
    "protocols": ("http",),
    "http.bind": "127.0.0.1:8080",
    "http.workers": 2,
    "http.threads": 8,
    "http.allowUnauthenticated": False,
    "grpc.bind": "127.0.0.1:50051",
    "grpc.workers": 2,
    "grpc.concurrency": 16,
    "grpc.tls.certificate": "",
    "grpc.tls.key": "",
    "grpc.tls.clientCa": "",
    "rabbitmq.exchange": "atlas-jobs",
    "rabbitmq.queues": {},
    "rabbitmq.queueType": "classic",
    "rabbitmq.declare": True,
    "rabbitmq.prefetch": 32,
    "rabbitmq.threads": 16,
    "rabbitmq.delays": (1, 2, 5, 10, 30, 60, 120, 300),
    "rabbitmq.healthFile": "",
    "sidecar.socket": "/run/orchestrator/runner.sock",
    "sidecar.workers": 2,
    "sidecar.threads": 16,
    "sidecar.queue": 64,
    "remotes.allowFile": False,
    "sshVerify.image": "",
    "sshVerify.hostKeys": "accept-new",
    "sshVerify.knownHosts": "",
    "limits.queueSeconds": 600,
    "limits.admissionSeconds": 0,
    "limits.imageSeconds": 30,
    "limits.registrySeconds": 300,
    "limits.cloneSeconds": 300,
    "limits.retentionSeconds": 86400,
    "tracker.intervalSeconds": 2,
    "tracker.publishers": 16,
    "tracker.orphanSeconds": 604800,
    "results.proxy": "",
    "results.caFile": "",
    "log.level": "info",
    "metrics.bind": "",
    "telemetry.otlpEndpoint": "",
    "local.directory": "/var/lib/orchestrator/jobs",
    "local.parallelism": 2,
    "local.images": {},
    "nomad.address": "https://127.0.0.1:4646",
    "nomad.region": "",
    "nomad.namespace": "default",
    "nomad.nodePool": "default",
    "nomad.datacenters": ("*",),
    "nomad.priority": 50,
    "nomad.constraints": (),
    "nomad.caFile": "",
    "nomad.certFile": "",
    "nomad.keyFile": "",
    "nomad.tokenFile": "",
    "nomad.taskDriver": "docker",
    "nomad.images": {},
    "nomad.user": "",
    "nomad.coreMhz": 2000,
    "nomad.credentialsVariable": "",
    "driver": None,
    "pools": {},
    "defaultPool": "default",
    "artifactSecretName": "",
}
"""By key of the file. An installation that says nothing relies on these: changing one is changing its behaviour."""

OPTIONAL: dict[str, dict[str, Any]] = {
    "KubernetesSection": {
        "namespace": "default",
        "nodeSelector": {},
        "imageRegistry.registryUrl": "",
        "imageRegistry.pullSecretName": "",
        "imageRegistry.pullPolicy": "",
        "kubeconfig": "",
        "context": "",
    },
    "PoolSettings": {
        "driver": None,
        "namespace": "",
        "nodeSelector": {},
        "tolerations": (),
        "priorityClassName": "",
        "queueName": "",
        "nodePool": "",
        "datacenters": (),
        "priority": None,
        "constraints": (),
    },
    "Toleration": {
        "key": "",
        "operator": "",
        "value": "",
        "effect": "",
        "tolerationSeconds": None,
    },
    "LocalImage": {
        "command": (),
        "secretArguments": "reference",
    },
    "RabbitmqQueue": {
        "queue": "",
        "key": "",
    },
    "NomadConstraint": {
        "attribute": "x",
        "value": "",
        "operator": "=",
    },
}
"""The same for the sections that are not there until the file has them."""


def keys(section: dict[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, dict) and value:
            yield from keys(value, f"{at}{name}.")
        else:
            yield f"{at}{name}", value


class TestDefaults:
    def test_every_default_is_pinned(self) -> None:
        assert dict(keys(msgspec.to_builtins(Config()))) == DEFAULTS

    @pytest.mark.parametrize("section", sorted(OPTIONAL))
    def test_those_of_optional_sections_as_well(self, section: str) -> None:
        required = {"attribute": "x"} if section == "NomadConstraint" else {}
        assert (
            dict(keys(msgspec.to_builtins(vars(drivers).get(section, vars(protocols).get(section))(**required))))
            == OPTIONAL[section]
        )

    def test_no_section_is_forgotten(self) -> None:
        there = {kind.__name__ for kind in Section.__subclasses__()}
        in_config = {type(getattr(Config(), name)).__name__ for name in Config.__struct_fields__}
        nested = {"ImageRegistry", "GrpcTls", "Config"}
        assert there <= in_config | nested | set(OPTIONAL)

    def test_a_section_cannot_be_changed(self) -> None:
        with pytest.raises(AttributeError):
            Config().http.workers = 5  # type: ignore[misc]


def config(**sections: Any) -> Config:
    """These sections, checked by their types alone."""
    return read(msgspec.json.encode(sections), Config, unknown="refuse")


BOUNDS: list[tuple[str, str, list[Any], list[Any]]] = [
    ("limits", "queueSeconds", [1, 604800], [0, -1, 604801, "1", 1.5, True]),
    ("limits", "admissionSeconds", [0, 365 * 86400], [-1, 365 * 86400 + 1]),
    ("limits", "imageSeconds", [1, 604800], [0, 604801]),
    ("limits", "registrySeconds", [1, 604800], [0, 604801]),
    ("limits", "cloneSeconds", [1, 604800], [0, 604801]),
    (
        "metrics",
        "bind",
        ["", "127.0.0.1:9090", "[::]:0", "unix:/run/orchestrator/metrics.sock"],
        ["9090", "host:65536", "unix:metrics.sock", "unix:", "h:1\n", 9090],
    ),
    (
        "telemetry",
        "otlpEndpoint",
        ["", "http://collector:4318", "https://[::1]:4318/otlp"],
        [
            "http://c:99999",
            "http://c:x",
            "http://[::1",
            "http://:80",
            "collector:4318",
            "grpc://c:4317",
            "http://",
            "http://me:secret@c:4318",
            "http://c:4318?key=1",
            "http://c\n",
        ],
    ),
    ("log", "level", ["debug", "INFO", "Warning", "error", "critical"], ["", "trace", "warn", "info\n", 10]),
    ("tracker", "publishers", [1, 256], [0, 257]),
    ("limits", "retentionSeconds", [1, 604800], [0, 604801]),
    ("http", "workers", [1, 1024], [0, 1025, "2"]),
    ("http", "threads", [1, 1024], [0, 1025]),
    ("http", "bind", ["0.0.0.0:80", "[::]:8080", "localhost:65535"], ["", "8080", ":", "a b:80", "a:x", "a:123456"]),
    (
        "http",
        "bind",
        ["a:0", "a:65535", "a:0999"],
        ["::1:80", "[::1:80", "a\0:80", "[::g]:80", "a:65536", "a:70000", "a:99999", "me@a:80", "http://a:80"],
    ),
    (
        "kubernetes",
        "namespace",
        ["a", "a-1", "1a", "x" * 63],
        ["", "A", "a_b", "-a", "a-", "a b", "x" * 64, "a.b", "a\n"],
    ),
    (
        "nomad",
        "address",
        ["https://a", "http://a:4646/", "https://[::1]:1"],
        ["a", "https://a b", "https://u:p@a", "ftp://a", "http://a:x", "http://a:99999", "http://[::1", "http://:80"],
    ),
    ("nomad", "address", ["http://a:65535"], ["http://a:65536", "http://a:65999", "http://a:66000", "http://a\0"]),
    *(
        (section, key, ["", "/a b/é.pem", "a.pem"], ["a\n", "a\0b", "\x1b", "a\x7f"])
        for section, key in (
            *(("results", "caFile"), ("kubernetes", "kubeconfig"), ("rabbitmq", "healthFile")),
            *(("nomad", key) for key in ("caFile", "certFile", "keyFile", "tokenFile", "region", "user")),
            *(("kubernetes", "context"), ("objectStorage", "bucket")),
        )
    ),
    ("nomad", "credentialsVariable", ["", "a", "A/b_c-d~1", "x" * 128], ["a b", "a.b", "a\n", "x" * 129]),
    ("nomad", "nodePool", ["", "a", "A_b-1", "x" * 128], ["a b", "a\n", "a.b", "x" * 129]),
    ("local", "directory", ["/jobs", "jobs", "/a b"], ["", "/a\n", "a\0b"]),
    ("nomad", "datacenters", [["*"], ["a", "b"]], [[]]),
    ("nomad", "namespace", ["a", "A-1"], ["a b", "a/b", "a\n"]),
    ("sidecar", "workers", [1, 1024], [0, 1025]),
    ("sidecar", "threads", [1, 1024], [0, 1025]),
    ("sidecar", "queue", [1, 1024], [0, 1025]),
    ("local", "parallelism", [1, 1024], [0, 1025]),
    ("remotes", "allowFile", [True, False], [1, "true"]),
    ("sshVerify", "hostKeys", ["accept-new", "strict", "ignore"], ["", "no", "yes"]),
]


@pytest.mark.parametrize(("section", "key", "good", "bad"), BOUNDS, ids=[f"{row[0]}.{row[1]}" for row in BOUNDS])
def test_every_bound_holds_on_both_sides_of_its_edge(section: str, key: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        config(**{section: {key: value}})
    for value in bad:
        with pytest.raises(Invalid) as caught:
            config(**{section: {key: value}})
        assert [problem.pointer for problem in caught.value.problems] == [f"/{section}/{key}"]


class TestPools:
    def test_without_pools_all_requests_lead_to_one_place(self) -> None:
        bare = config()
        assert (bare.pool("plan-pf"), bare.pool("")) == ("default", "default")
        assert bare.drivers() == ("local",)

    def test_a_request_gets_its_pool_where_there_is_one(self) -> None:
        pools = config(pools={"gold": {"driver": "printer"}, "silver": {}}, defaultPool="silver", driver="nomad")
        assert [pools.pool(requested) for requested in ("gold", "silver", "bronze", "")] == [
            "gold",
            "silver",
            "silver",
            "silver",
        ]
        assert (pools.driver_of("gold"), pools.driver_of("silver"), pools.driver_of("unknown")) == (
            "printer",
            "nomad",
            "nomad",
        )

    def test_every_driver_that_some_pool_leads_to_is_named_once_the_default_one_first(self) -> None:
        pools = {"a": {"driver": "printer"}, "b": {"driver": "local"}, "c": {"driver": "printer"}, "d": {}}
        assert config(pools=pools, driver="nomad").drivers() == ("nomad", "printer", "local")
        assert config(pools=pools, driver="nomad", defaultPool="b").drivers() == ("local", "printer", "nomad")

    @pytest.mark.parametrize(
        ("sections", "driver"),
        [
            ({}, "local"),
            ({"kubernetes": {}}, "kubernetes"),
            ({"kubernetes": None}, "local"),
            ({"driver": "local", "kubernetes": {}}, "local"),
            ({"driver": "printer"}, "printer"),
        ],
    )
    def test_a_kubernetes_section_chooses_the_driver_unless_one_is_named(
        self, sections: dict[str, Any], driver: str
    ) -> None:
        assert config(**sections).default_driver == driver


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", ""),
        ("atlas.example", "https://atlas.example"),
        ("atlas.example:8443/", "https://atlas.example:8443"),
        ("http://atlas.example", "http://atlas.example"),
        ("https://atlas.example/base//", "https://atlas.example/base"),
    ],
)
def test_atlas_is_reached_over_https_unless_the_file_says_otherwise(host: str, url: str) -> None:
    assert config(deepsource={"host": host}).atlas_url == url
