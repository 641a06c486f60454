"""runner.config.loading: one YAML file and the environment; everything that is wrong at once, and never a secret."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runner.config.loading import DEFAULT_PATH, load, locate, parse
from runner.config.reading import MAX_PROBLEMS
from runner.config.types import Config
from runner.errors import Invalid, Malformed, OrchestratorError

SECRET = "hunter2"
PEM = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"
LEAST: dict[str, Any] = {
    "runner": {"id": "runner-1", "privateKey": PEM},
    "deepsource": {"host": "atlas.example", "publicKey": "-----BEGIN PUBLIC KEY-----\n"},
}
INSTALLED: dict[str, Any] = {
    "runner": {
        **LEAST["runner"],
        "host": "https://runner.example",
        "clientId": "client",
        "clientSecret": SECRET,
        "webhookSecret": SECRET,
    },
    "deepsource": LEAST["deepsource"],
    "kubernetes": {
        "namespace": "jobs",
        "nodeSelector": {"disk": "ssd"},
        "imageRegistry": {"registryUrl": "registry.example:5000/team", "pullSecretName": "pull"},
    },
    "objectStorage": {"provider": "s3", "bucket": "snippets", "credential": f"{{{SECRET}}}"},
    "sentry": {"dsn": f"https://{SECRET}@sentry.example/1"},
    "apps": [{"id": "github", "privateKey": SECRET}],
    "rqlite": {"host": "rqlite", "password": SECRET},
    "saml": {"certificate": SECRET},
}
"""Every key that the contract says installations have, those of the programs that share the file included."""

ENVIRONMENT = {
    "TASK_NAMESPACE": "from-environment",
    "TASK_NODE_SELECTOR": "{disk: hdd, zone: a}",
    "TASK_IMAGE_REGISTRY_URL": "registry.environment",
    "TASK_IMAGE_PULL_SECRET_NAME": "pull-environment",
    "TASK_ARTIFACT_SECRET_NAME": "artifacts-environment",
    "ORCHESTRATOR_RUNNER_ID": "runner-environment",
    "ORCHESTRATOR_PRIVATE_KEY": PEM.replace(SECRET, "other"),
    "ORCHESTRATOR_PUBLIC_KEY": "-----BEGIN PUBLIC KEY-----\nother",
    "ORCHESTRATOR_SENTRY_DSN": "https://other@sentry.example/2",
}


def read(document: Any, environ: dict[str, str] | None = None) -> Config:
    return parse(document if isinstance(document, str) else yaml.safe_dump(document), environ or {})


def least(**sections: Any) -> dict[str, Any]:
    """The smallest good file, with these sections besides."""
    return {**copy.deepcopy(LEAST), **sections}


def problems(document: Any, environ: dict[str, str] | None = None) -> dict[str, str]:
    """What is wrong, by place; never two things in one place, and never with a secret."""
    with pytest.raises(Invalid) as caught:
        read(document, environ)
    assert SECRET not in f"{caught.value!r} {caught.value.detail}"
    found = {problem.pointer: problem.message for problem in caught.value.problems}
    assert len(found) == len(caught.value.problems)
    return found


class TestInstalledFiles:
    def test_every_key_that_installations_have_is_taken(self) -> None:
        config = read(INSTALLED)
        assert (config.runner.id, config.runner.host, config.runner.private_key) == (
            "runner-1",
            "https://runner.example",
            PEM,
        )
        assert (config.deepsource.host, config.atlas_url) == ("atlas.example", "https://atlas.example")
        assert config.cluster.namespace == "jobs"
        assert config.cluster.node_selector == {"disk": "ssd"}
        assert config.cluster.image_registry.registry_url == "registry.example:5000/team"
        assert config.cluster.image_registry.pull_secret_name == "pull"
        assert (config.object_storage.provider, config.object_storage.bucket) == ("s3", "snippets")
        assert config.sentry_dsn.reveal() == f"https://{SECRET}@sentry.example/1"
        assert config.default_driver == "kubernetes"

    @pytest.mark.parametrize("value", [None, 1, "text", [1, {"a": None}], {"any": {"thing": [True, 1.5]}}])
    def test_others_sections_may_hold_anything(self, value: Any) -> None:
        others = {"apps": value, "rqlite": value, "saml": value, "objectStorage": {"credential": value}}
        runner = {**LEAST["runner"], "clientId": value, "clientSecret": value, "webhookSecret": value}
        read(least(**others, runner=runner))

    def test_the_smallest_file_runs_jobs_on_this_host(self) -> None:
        config = read(LEAST)
        assert config.drivers() == ("local",)
        assert config.artifact_secret_name == ""

    def test_a_key_that_is_null_is_not_there(self) -> None:
        assert read(least(kubernetes=None, http=None, pools=None, driver=None)) == read(LEAST)

    def test_no_repr_shows_a_secret(self) -> None:
        config = read(INSTALLED, ENVIRONMENT)
        for shown in (repr(config), str(config), repr(config.runner), repr(config.sentry), repr(config.object_storage)):
            assert SECRET not in shown
        assert "runner-1" in repr(config)
        assert "namespace='jobs'" in repr(config)


class TestEnvironment:
    def test_it_fills_what_the_file_leaves_open(self) -> None:
        config = read({"deepsource": {"host": "atlas.example"}, "kubernetes": {}}, ENVIRONMENT)
        assert config.cluster.namespace == "from-environment"
        assert config.cluster.node_selector == {"disk": "hdd", "zone": "a"}
        assert config.cluster.image_registry.registry_url == "registry.environment"
        assert config.cluster.image_registry.pull_secret_name == "pull-environment"
        assert config.artifact_secret_name == "artifacts-environment"
        assert config.runner.id == "runner-environment"
        assert config.runner.private_key == ENVIRONMENT["ORCHESTRATOR_PRIVATE_KEY"]
        assert config.deepsource.public_key == ENVIRONMENT["ORCHESTRATOR_PUBLIC_KEY"]
        assert config.sentry.dsn == "https://other@sentry.example/2"

    def test_the_file_wins(self) -> None:
        file = {**INSTALLED, "artifactSecretName": "artifacts-file"}
        assert read(file, ENVIRONMENT) == read(file)

    def test_an_empty_text_in_the_file_is_silence(self) -> None:
        file = least(kubernetes={"namespace": "", "nodeSelector": {}, "imageRegistry": None}, artifactSecretName="")
        config = read(file, ENVIRONMENT)
        assert config.cluster.namespace == "from-environment"
        assert config.cluster.node_selector == {"disk": "hdd", "zone": "a"}
        assert config.cluster.image_registry.registry_url == "registry.environment"
        assert config.artifact_secret_name == "artifacts-environment"

    def test_an_empty_variable_is_none(self) -> None:
        assert read(LEAST, dict.fromkeys(ENVIRONMENT, "")) == read(LEAST)

    def test_other_variables_mean_nothing(self) -> None:
        assert read(LEAST, {"TASK_CPU": "5", "HOME": "/", "ORCHESTRATOR_ANYTHING": "x"}) == read(LEAST)

    @pytest.mark.parametrize("variable", sorted(ENVIRONMENT))
    def test_no_variable_chooses_the_driver(self, variable: str) -> None:
        """The file's own section does; a host that happens to have TASK_NAMESPACE set goes on running its own jobs."""
        for file, driver in ((LEAST, "local"), (least(kubernetes=None), "local"), (least(kubernetes={}), "kubernetes")):
            assert read(file, {variable: ENVIRONMENT[variable]}).default_driver == driver

    def test_it_still_fills_the_section_of_a_cluster_that_the_file_chose_by_name(self) -> None:
        config = read(least(driver="kubernetes"), ENVIRONMENT)
        assert (config.default_driver, config.cluster.namespace) == ("kubernetes", "from-environment")

    @pytest.mark.parametrize(("value", "at"), [("a: 1", "/a"), ("text", ""), ("[a]", ""), ("a: {b: c}", "/a")])
    def test_a_node_selector_that_is_no_map_of_texts_is_a_problem(self, value: str, at: str) -> None:
        assert list(problems(LEAST, {"TASK_NODE_SELECTOR": value})) == [f"/kubernetes/nodeSelector{at}"]

    def test_one_that_is_no_yaml_is_named(self) -> None:
        with pytest.raises(Malformed, match="TASK_NODE_SELECTOR"):
            read(LEAST, {"TASK_NODE_SELECTOR": "a: ["})

    def test_a_section_of_the_wrong_shape_is_reported_and_not_filled(self) -> None:
        found = problems(least(kubernetes=5, sentry=[], runner="x"), ENVIRONMENT)
        assert found == dict.fromkeys(["/kubernetes", "/sentry", "/runner"], "must be an object")


class TestProblems:
    def test_all_are_reported_at_once(self) -> None:
        found = problems(
            {
                "runner": {"id": 5, "privateKey": "no pem", "hots": "x"},
                "deepsource": {},
                "kubernets": {},
                "http": {"bind": "nowhere", "workers": 0, "allowUnauthenticated": "yes"},
                "sidecar": {"queue": 1025, "socket": "/" + "s" * 100},
                "driver": "docker",
                "defaultPool": "gold",
                "pools": {"silver": {"driver": "nomed", "nodeSelector": {"a": 1}}, "bronze": 5},
                "limits": {"queueSeconds": 0, "cloneSeconds": 604801, "retentionSeconds": "1d"},
                "sshVerify": {"hostKeys": "maybe"},
            }
        )
        assert {place: message.split("; did")[0] for place, message in found.items()} == {
            "/runner/id": "is wrong: expected str, got int",
            "/runner/privateKey": "must be an RSA private key in PEM",
            "/runner/hots": "is not a known key",
            "/deepsource/host": "is required: results go there",
            "/deepsource/publicKey": found["/deepsource/publicKey"],
            "/kubernets": "is not a known key",
            "/http/bind": "must be host:port",
            "/http/workers": "must be a number from 1 to 1024",
            "/http/allowUnauthenticated": "is wrong: expected bool, got str",
            "/sidecar/queue": "must be a number from 1 to 1024",
            "/sidecar/socket": "must be at most 100 bytes long: the kernel takes no longer socket path",
            "/driver": "must be one of: local, kubernetes, nomad, printer, memory",
            "/defaultPool": "names no pool of this file; known: bronze, silver",
            "/pools/silver/driver": "must be one of: local, kubernetes, nomad, printer, memory",
            "/pools/silver/nodeSelector/a": "is wrong: expected str, got int",
            "/pools/bronze": "must be an object",
            "/limits/queueSeconds": "must be seconds, from 1 to 604800",
            "/limits/cloneSeconds": "must be seconds, from 1 to 604800",
            "/limits/retentionSeconds": "must be seconds, from 1 to 604800",
            "/sshVerify/hostKeys": "must be one of: accept-new, strict, ignore",
        }

    @pytest.mark.parametrize(
        ("document", "place", "near"),
        [
            ({"kubernets": {}}, "/kubernets", "kubernetes"),
            ({"Runner": {}}, "/Runner", "runner"),
            ({"default_pool": "a"}, "/default_pool", "defaultPool"),
            ({"kubernetes": {"namspace": "a"}}, "/kubernetes/namspace", "namespace"),
            (
                {"kubernetes": {"imageRegistry": {"registryURL": "a"}}},
                "/kubernetes/imageRegistry/registryURL",
                "registryUrl",
            ),
            ({"pools": {"a": {"nodeSelectors": {}}}}, "/pools/a/nodeSelectors", "nodeSelector"),
            ({"pools": {"a": {"tolerations": [{"keey": "a"}]}}}, "/pools/a/tolerations/0/keey", "key"),
        ],
    )
    def test_an_unknown_key_is_answered_with_the_nearest_known_one(
        self, document: dict[str, Any], place: str, near: str
    ) -> None:
        assert problems(least(**document)) == {place: f"is not a known key; did you mean {near!r}?"}

    def test_one_like_none_is_answered_with_all_of_them(self) -> None:
        message = problems(least(sentry={"zzzzzz": 1}))["/sentry/zzzzzz"]
        assert message == "is not a known key; known here: dsn"

    @pytest.mark.parametrize("section", ["runner", "deepsource"])
    def test_what_identifies_us_is_required(self, section: str) -> None:
        without = {name: value for name, value in LEAST.items() if name != section}
        required = {
            "runner": ["/runner/id", "/runner/privateKey"],
            "deepsource": ["/deepsource/host", "/deepsource/publicKey"],
        }
        assert sorted(problems(without)) == required[section]

    def test_without_tokens_no_public_key_is_required(self) -> None:
        deepsource = {"host": "atlas.example"}
        config = read(least(deepsource=deepsource, http={"allowUnauthenticated": True}))
        assert config.deepsource.public_key == ""
        assert list(problems(least(deepsource=deepsource, http={"allowUnauthenticated": False}))) == [
            "/deepsource/publicKey"
        ]
        assert "/deepsource/publicKey" in problems(least(deepsource=deepsource, http=5))

    @pytest.mark.parametrize("place", ["/runner/privateKey", "/deepsource/publicKey"])
    @pytest.mark.parametrize("key", [SECRET, "MIIE", "/etc/key.pem", " x -----BEGIN"])
    def test_a_key_that_is_no_pem_is_seen_at_once_and_not_quoted(self, place: str, key: str) -> None:
        (_, section, name) = place.split("/")
        message = problems(least(**{section: {**LEAST[section], name: key}}))[place]
        assert message.endswith("in PEM")
        assert key not in message

    @pytest.mark.parametrize(
        ("key", "said"),
        [
            ("ssh-rsa AAAA", "is an OpenSSH public key"),
            ("PuTTY-User-Key-File-3: ssh-rsa", "is a PuTTY key"),
        ],
    )
    def test_a_key_of_another_format_is_called_what_it_is(self, key: str, said: str) -> None:
        found = problems(least(deepsource={"host": "a", "publicKey": key}))
        assert found["/deepsource/publicKey"].startswith(said)
        found = problems(least(deepsource={"host": "a", "publicKey": [LEAST["deepsource"]["publicKey"], key]}))
        assert found["/deepsource/publicKey/1"].startswith(said)

    def test_several_public_keys_may_be_a_list_or_one_text(self) -> None:
        (first, second) = (f"-----BEGIN PUBLIC KEY-----\n{name}\n-----END PUBLIC KEY-----" for name in ("AA", "BB"))
        for keys in ([first, second], f"{first}\n{second}"):
            found = read(least(deepsource={"host": "a", "publicKey": keys})).deepsource.public_keys
            assert found == f"{first}\n{second}"
        for none in ([], "", " ", [""]):
            found_problems = problems(least(deepsource={"host": "a", "publicKey": none}))
            assert found_problems["/deepsource/publicKey"].startswith("is required")
        assert problems(least(deepsource={"host": "a", "publicKey": 5}))["/deepsource/publicKey"] == (
            "must be a key in PEM, or a list of such keys"
        )

    @pytest.mark.parametrize(
        ("host", "url"),
        [
            (" https://a ", "https://a"),
            ("a\n", "https://a"),
            ("a:8443/x/", "https://a:8443/x"),
            ("http://[::1]:80", "http://[::1]:80"),
            ("HTTPS://A.example", "HTTPS://A.example"),
        ],
    )
    def test_the_host_is_stripped(self, host: str, url: str) -> None:
        assert read(least(deepsource={**LEAST["deepsource"], "host": host})).atlas_url == url

    @pytest.mark.parametrize(
        "host",
        [
            *(
                "a b",
                "ftp://a",
                "https://",
                " ",
                "://a",
                "https://a:0",
                "https://a:99999",
                "https://a:x",
                "a?x=1",
                "a#x",
            ),
            *("https:///x", "https://a/b c", "http:a", "https://é.example", "-a", "[::1", "[:::]", "https://a\x00"),
            *(f"https://me:{SECRET}@a", f"{SECRET}@a", f"https://{SECRET}:p/w@a"),
        ],
    )
    def test_a_host_that_can_never_work_is_refused_and_not_quoted(self, host: str) -> None:
        message = problems(least(deepsource={**LEAST["deepsource"], "host": host}))["/deepsource/host"]
        assert message.startswith("must ")
        assert SECRET not in message

    @pytest.mark.parametrize("size", [100, 101])
    def test_a_socket_path_fits_the_kernel(self, size: int) -> None:
        file = least(sidecar={"socket": "/" + "s" * (size - 1)})
        if size <= 100:
            assert len(read(file).sidecar.socket) == size
        else:
            assert list(problems(file)) == ["/sidecar/socket"]
        assert list(problems(least(sidecar={"socket": "/" + "é" * 50}))) == ["/sidecar/socket"]

    def test_the_memory_driver_lives_in_one_process(self) -> None:
        read(least(driver="memory", sidecar={"workers": 1}))
        for several in (least(driver="memory"), least(pools={"a": {"driver": "memory"}})):
            assert list(problems(several)) == ["/sidecar/workers"]

    def test_the_default_pool_is_one_of_the_files(self) -> None:
        assert read(least(defaultPool="gold", pools={"gold": {}})).default_pool == "gold"
        assert read(least(defaultPool="default")).default_pool == "default"
        assert "known: none" in problems(least(defaultPool="gold"))["/defaultPool"]

    @pytest.mark.parametrize(
        "sections",
        [
            {"sidecar": {"socket": 5}},
            {"sidecar": {"workers": "two"}, "driver": "memory"},
            {"sidecar": 5, "driver": "memory"},
            {"pools": {"a": None}, "defaultPool": 5},
            {"pools": [], "driver": "memory", "sidecar": {"workers": "x"}},
            {"driver": 5, "pools": {"a": {"driver": 5}}},
            {"runner": {"id": [], "privateKey": {}}, "deepsource": {"host": 1, "publicKey": False}},
            {"http": {"allowUnauthenticated": []}, "deepsource": {"host": "a"}},
        ],
    )
    def test_what_could_not_be_read_breaks_no_rule(self, sections: dict[str, Any]) -> None:
        assert problems(least(**sections))


POOL = {"driver": "kubernetes"}
NEVER: list[tuple[dict[str, Any], str]] = [
    ({"runner": {**LEAST["runner"], "id": " "}}, "/runner/id"),
    ({"kubernetes": {"imageRegistry": {"registryUrl": "a.example/Team"}}}, "/kubernetes/imageRegistry/registryUrl"),
    ({"kubernetes": {"imageRegistry": {"registryUrl": " registry.example"}}}, "/kubernetes/imageRegistry/registryUrl"),
    ({"kubernetes": {"imageRegistry": {"registryUrl": "a@b"}}}, "/kubernetes/imageRegistry/registryUrl"),
    ({"kubernetes": {"imageRegistry": {"pullSecretName": "My_Secret"}}}, "/kubernetes/imageRegistry/pullSecretName"),
    ({"kubernetes": {"nodeSelector": {"a b": "c"}}}, "/kubernetes/nodeSelector"),
    ({"kubernetes": {"nodeSelector": {"a": "b c"}}}, "/kubernetes/nodeSelector/a"),
    ({"pools": {"a": {"nodeSelector": {"example.com/a": "-"}}}}, "/pools/a/nodeSelector/example.com~1a"),
    ({"pools": {"a": {**POOL, "namespace": "Upper"}}}, "/pools/a/namespace"),
    ({"kubernetes": {}, "pools": {"a": {"namespace": "Upper"}}}, "/pools/a/namespace"),
    ({"pools": {"a": {**POOL, "priorityClassName": "a b"}}}, "/pools/a/priorityClassName"),
    ({"pools": {"a": {**POOL, "queueName": "a/b"}}}, "/pools/a/queueName"),
    ({"pools": {"a": {**POOL, "tolerations": [{"operator": "Equal"}]}}}, "/pools/a/tolerations/0"),
    ({"pools": {"a": {**POOL, "tolerations": [{"key": "a", "operator": "In"}]}}}, "/pools/a/tolerations/0/operator"),
    ({"pools": {"a": {**POOL, "tolerations": [{"key": "a", "effect": "No"}]}}}, "/pools/a/tolerations/0/effect"),
    ({"pools": {"a": {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}}}, "/pools/a/tolerations/0"),
    ({"pools": {"a": {**POOL, "tolerations": [{"key": "a", "tolerationSeconds": 5}]}}}, "/pools/a/tolerations/0"),
    ({"pools": {"a": {"driver": "nomad", "constraints": [{"attribute": "a", "operator": "like"}]}}},
     "/pools/a/constraints/0/operator"),
    ({"artifactSecretName": "a b"}, "/artifactSecretName"),
    ({"sshVerify": {"hostKeys": "strict"}}, "/sshVerify/knownHosts"),
    ({"sshVerify": {"image": "a b"}}, "/sshVerify/image"),
    *(
        ({"sshVerify": {"image": each}}, "/sshVerify/image")
        for each in ("Upper", "a:b:c", "https://registry.example/a", "a@b", "a/", "a:", "registry.example:99999/a")
    ),
    ({"sshVerify": {"hostKeys": "strict", "knownHosts": "# none\ngarbage"}}, "/sshVerify/knownHosts"),
    *(
        ({"pools": {"a": {**POOL, "tolerations": [each]}}}, "/pools/a/tolerations/0")
        for each in ({"key": "a b"}, {"key": "a", "value": "b c"}, {"key": "a", "operator": "Lt", "value": "x"})
    ),
    *(({"sidecar": {"socket": each}}, "/sidecar/socket") for each in ("@runner", "unix:/run/runner.sock")),
    ({"nomad": {"credentialsVariable": "a b"}}, "/nomad/credentialsVariable"),
    ({"rabbitmq": {"exchange": "amq.direct"}}, "/rabbitmq/exchange"),
    ({"rabbitmq": {"queues": {"analysis_run": {"queue": "amq.a"}}}}, "/rabbitmq/queues/analysis_run/queue"),
    ({"protocols": ["http", "grpc"], "http": {"bind": "a:1"}, "grpc": {"bind": "a:1"}}, "/grpc/bind"),
    ({"results": {"proxy": "proxy.example:3128"}}, "/results/proxy"),
    ({"results": {"proxy": "ftp://proxy.example"}}, "/results/proxy"),
    ({"results": {"proxy": "http://"}}, "/results/proxy"),
    ({"results": {"proxy": "http://a:99999"}}, "/results/proxy"),
    ({"results": {"proxy": "http://[a"}}, "/results/proxy"),
    ({"sidecar": {"socket": ""}}, "/sidecar/socket"),
    ({"sidecar": {"socket": "/run/x/"}}, "/sidecar/socket"),
    ({"sidecar": {"socket": "~/runner.sock"}}, "/sidecar/socket"),
    ({"sidecar": {"socket": "$XDG_RUNTIME_DIR/runner.sock"}}, "/sidecar/socket"),
    *(({"local": {"directory": each}}, "/local/directory") for each in ("~/jobs", "$HOME/jobs", " ", " /jobs")),
    *(({"nomad": {"datacenters": [each]}}, "/nomad/datacenters/0") for each in ("", "dc 1", "dc1\n")),
    *(({"rabbitmq": {"exchange": each}}, "/rabbitmq/exchange") for each in ("a\nb", "a\0", "\u00e9" * 101)),
    ({"rabbitmq": {"queues": {"analysis_run": {"queue": "a\rb"}}}}, "/rabbitmq/queues/analysis_run/queue"),
    ({"rabbitmq": {"queues": {"analysis_run": {"key": "\u20ac" * 67}}}}, "/rabbitmq/queues/analysis_run/key"),
    *(
        ({"kubernetes": {"imageRegistry": {"registryUrl": each}}}, "/kubernetes/imageRegistry/registryUrl")
        for each in ("-a", "a..b", ".a", "a-", "a:70000", "a:0", "a:0/b")
    ),
    ({"protocols": ["htp"]}, "/protocols/0"),
    *(({"runner": {**LEAST["runner"], "id": f"a{c}b"}}, "/runner/id") for c in "\n\r\t\0\x1b\x7f\x85\u2028\u202e"),
    ({"runner": {**LEAST["runner"], "id": "a\n"}}, "/runner/id"),
    *(
        ({"sentry": {"dsn": dsn}}, "/sentry/dsn")
        for dsn in (
            *("nonsense", SECRET, " ", f"https://sentry.example/{SECRET}", f"https://{SECRET}@sentry.example"),
            *(f"https://{SECRET}@sentry.example/", f"{SECRET}@sentry.example/1", f"ftp://{SECRET}@sentry.example/1"),
            *(f"https://{SECRET}@/1", f"https://{SECRET}@a:99999/1", f"https://{SECRET}@a:x/1", f"https://{SECRET}@[a/1"),
            *(f"https://{SECRET}@a..b/1", f"https://{SECRET}@a b/1", f"https://{SECRET}@a/1\n", f"https://:{SECRET}@a/1"),
        )
    ),
    ({"local": {"directory": ""}}, "/local/directory"),
    ({"local": {"images": {"a": {"command": ["a\0"]}}}}, "/local/images/a/command/0"),
    ({"grpc": {"tls": {"certificate": "a\0"}}}, "/grpc/tls/certificate"),
    ({"results": {"proxy": "http://a:0"}}, "/results/proxy"),
    ({"nomad": {"address": "http://a:0"}}, "/nomad/address"),
    *(
        (sections, place)
        for host in ("999.1.1.1", "1.2.3.256", "1.2.3.4.5", "a..b", ".a", "-a", "a-.b", "a.7", "a,b", 64 * "x")
        for sections, place in (
            ({"http": {"bind": f"{host}:80"}}, "/http/bind"),
            ({"grpc": {"bind": f"{host}:80"}}, "/grpc/bind"),
            ({"metrics": {"bind": f"{host}:80"}}, "/metrics/bind"),
            ({"nomad": {"address": f"https://{host}:4646"}}, "/nomad/address"),
            ({"telemetry": {"otlpEndpoint": f"http://{host}:4318"}}, "/telemetry/otlpEndpoint"),
            ({"results": {"proxy": f"http://{host}:3128"}}, "/results/proxy"),
            ({"deepsource": {**LEAST["deepsource"], "host": f"https://{host}"}}, "/deepsource/host"),
        )
    ),
    ({"http": {"bind": "[:::]:80"}}, "/http/bind"),
    ({"http": {"bind": "[1.2.3.4]:80"}}, "/http/bind"),
    *(
        ({"protocols": ["http", "grpc"], "http": {"bind": one}, "grpc": {"bind": other}}, "/grpc/bind")
        for one, other in (
            *(("0.0.0.0:80", "127.0.0.1:80"), ("127.0.0.1:80", "0.0.0.0:80"), ("0.0.0.0:80", "0.0.0.0:080")),
            *(("0.0.0.0:80", "10.0.0.1:80"), ("0:80", "127.1:80"), ("127.1:80", "127.0.0.1:80")),
            *(("localhost:80", "127.0.0.1:80"), ("LocalHost:80", "[::1]:80"), ("0.0.0.0:80", "localhost:80")),
            *(("[::]:80", "[::1]:80"), ("[::]:80", "0.0.0.0:80"), ("[::1]:80", "[0:0::1]:80"), ("A:80", "a.:80")),
        )
    ),
    ({"http": {"bind": "0.0.0.0:80"}, "metrics": {"bind": "127.0.0.1:80"}}, "/metrics/bind"),
    ({"sidecar": {"socket": "/a/b.sock"}, "metrics": {"bind": "unix:/a/b.sock"}}, "/metrics/bind"),
]  # fmt: skip


@pytest.mark.parametrize(("sections", "place"), NEVER)
def test_a_value_that_can_never_work_is_refused_at_its_place(sections: dict[str, Any], place: str) -> None:
    assert list(problems(least(**sections))) == [place]


def test_values_like_them_that_work_are_taken() -> None:
    registry = {"registryUrl": "https://registry.example:5000/a-b/c_d/", "pullSecretName": "a.b-c"}
    tolerations = [
        *({"operator": "Exists"}, {"key": "example.com/a", "operator": "Exists", "effect": "NoSchedule"}),
        {"key": "a", "value": "b", "effect": "NoExecute", "tolerationSeconds": 5},
    ]
    tolerations += [{"key": "a", "operator": "Gt", "value": "-5"}, {"key": "a", "value": ""}]
    for image in ("git", "team/git:2.47", "registry.example:5000/a_b/git@sha256:" + "0" * 64, "[::1]:5000/git"):
        assert read(least(sshVerify={"image": image}))
    assert read(
        least(rabbitmq={"exchange": "amq.direct", "declare": False, "queues": {"analysis_run": {"key": "amq.a"}}})
    )
    pools = {
        "a": {**POOL, "namespace": "x-1", "tolerations": tolerations},
        "b": {"driver": "nomad", "namespace": "Upper"},
    }
    assert read(
        least(
            kubernetes={"imageRegistry": registry, "nodeSelector": {"example.com/A_b": "", "pool": "x_Y.z"}},
            pools=pools,
            sshVerify={"hostKeys": "strict", "knownHosts": "git.example ssh-ed25519 AAAA"},
            protocols=["http", "grpc"],
            results={"proxy": "socks5h://me:pw@proxy.example:1080"},
        )
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("0.0.0.0:80", "0.0.0.0:81"), ("127.0.0.1:80", "10.0.0.1:80"), ("0.0.0.0:0", "127.0.0.1:0")),
        *(("0.0.0.0:80", "[::1]:80"), ("localhost:80", "127.0.0.2:80"), ("a:80", "b:80")),
    ],
)
def test_addresses_that_one_host_can_listen_at_are_taken(one: str, other: str) -> None:
    assert read(least(protocols=["http", "grpc"], http={"bind": one}, grpc={"bind": other}))
    assert read(least(http={"bind": one}, metrics={"bind": other}))


@pytest.mark.parametrize(
    "host", ["a", "A_b.c-d.", "127.1", "1.2.3.4", "[::1]", "[fe80::1]", "é.example", "3com.example"]
)
def test_a_host_that_can_exist_is_taken(host: str) -> None:
    url = f"http://{host}:4646"
    assert read(least(http={"bind": f"{host}:80"}, nomad={"address": url}, results={"proxy": url}))


@pytest.mark.parametrize("dsn", ["https://k@a/1", "http://k:s@sentry.example:9000/x/2", "https://k@[::1]/1?timeout=2"])
def test_a_dsn_is_taken(dsn: str) -> None:
    assert read(least(sentry={"dsn": dsn})).sentry.dsn == dsn


@pytest.mark.parametrize("value", [".nan", ".NaN", ".inf", "-.Inf", "+.inf", "1.0e+999"])
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("http: {workers: @}", "/http/workers"),
        ("runner: {id: @}", "/runner/id"),
        ("http: @", "/http"),
        ("driver: @", "/driver"),
        ("protocols: [http, @]", "/protocols/1"),
        ("pools: {a/b: {nodeSelector: {x: @}}}", "/pools/a~1b/nodeSelector/x"),
        ("pools: {a: {constraints: [{attribute: @}]}}", "/pools/a/constraints/0/attribute"),
        ("kubernetes: {nodeSelector: {@: x}}", "/kubernetes/nodeSelector"),
        ("unknown: @", "/unknown"),
    ],
)
def test_nan_and_infinity_are_no_missing_values(value: str, text: str, place: str) -> None:
    file = {**LEAST, **yaml.safe_load(text.replace("@", value))}
    found = problems(file)
    assert found[place].endswith("must not be NaN or infinity")
    assert set(found) <= {place, "/runner/privateKey"}


def test_nan_does_not_hide_what_else_is_wrong() -> None:
    assert list(problems(least(http={"workers": float("nan"), "threads": 0}))) == ["/http/threads", "/http/workers"]
    assert list(problems(LEAST, {"TASK_NODE_SELECTOR": "{a: .inf}"})) == ["/kubernetes/nodeSelector/a"]


def test_at_most_a_thousand_such_values_are_named() -> None:
    assert len(problems(least(protocols=[float("nan")] * 5000))) == MAX_PROBLEMS


def test_others_may_use_nan() -> None:
    other = {"a": [float("nan")]}
    read(
        least(
            apps=other, rqlite=other, objectStorage={"credential": other}, runner={**LEAST["runner"], "clientId": other}
        )
    )


def test_a_wrong_choice_is_answered_with_all_choices() -> None:
    found = problems(least(driver="docker", protocols=["htp"], kubernetes={"imageRegistry": {"pullPolicy": "never"}}))
    assert found == {
        "/driver": "must be one of: local, kubernetes, nomad, printer, memory",
        "/protocols/0": "must be one of: http, grpc, amqp",
        "/kubernetes/imageRegistry/pullPolicy": "must be one of: Always, IfNotPresent, Never",
    }


class TestYaml:
    @pytest.mark.parametrize(
        "text",
        [
            "runner: {id: a, id: b}",
            "runner: {id: a}\nrunner: {id: b}",
            "apps: [{a: 1, a: 2}]",
            "apps: {1: a, 1: b}",
        ],
    )
    def test_a_key_that_stands_twice_is_refused_with_its_line(self, text: str) -> None:
        with pytest.raises(Malformed, match=r"stands twice \(line \d+, column \d+\)"):
            read(text)

    @pytest.mark.parametrize(
        "text",
        [
            "apps: !!python/object/apply:os.system ['touch pwned']",
            "apps: !!python/name:os.system",
            "apps: !Ref x",
            "apps: !!int x",
            "apps: !!float x",
            "apps: !!bool x",
            "apps: !!timestamp x",
            "apps: !!binary a",
            "apps: 2024-13-45",
            "apps: " + "9" * 5000,
            "? [a]\n: b",
            "apps: {[1]: 2}",
            "? {a: b}\n: c",
            "apps: *nobody",
            "apps: @x",
            "apps: [",
            "apps: 'x",
            "\t- x",
        ],
    )
    def test_what_cannot_be_built_is_refused_with_its_line(self, text: str) -> None:
        with pytest.raises(Malformed, match=r"is not YAML: .*\(line \d+, column \d+\)") as caught:
            read(text)
        assert "pwned" not in str(caught.value)

    @pytest.mark.parametrize(
        "text",
        [
            "apps: &a [*a]",
            "apps: " + "[" * 700,
            "apps: \0",
            'apps: "\\ud800"',
            "null: 5",
            "apps: {null: 5}",
            "- a",
            "a",
            "5",
            "0",
            "[]",
            "false",
        ],
    )
    def test_what_is_no_mapping_of_plain_values_is_refused(self, text: str) -> None:
        with pytest.raises(Malformed):
            read(text)

    @pytest.mark.parametrize(
        "text",
        [
            "apps:\n- &a [x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"- &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)),
            "apps:\n- &a {x: y}\n"
            + "".join(
                f"- &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
            ),
            f"apps: [&a {'x' * 20_000}, {', '.join(['*a'] * 100)}]",
        ],
        ids=["lists", "merged mappings", "a long text"],
    )
    def test_aliases_that_make_the_document_too_large_are_refused(self, text: str) -> None:
        with pytest.raises(Malformed, match="its aliases make it too large"):
            read(text)

    def test_a_large_document_without_aliases_is_read(self) -> None:
        read(least(apps=["x" * 1000 for _ in range(3000)]))

    def test_an_alias_inside_its_own_value_is_refused(self) -> None:
        with pytest.raises(Malformed, match="an alias stands inside its own value"):
            read("apps: &a {b: [*a]}")

    @pytest.mark.parametrize("text", ["", "---", "# nothing\n", "{}"])
    def test_an_empty_file_lacks_what_is_required(self, text: str) -> None:
        assert "/runner/id" in problems(text)

    def test_dates_are_texts_where_texts_are_wanted(self) -> None:
        file = least(runner={**LEAST["runner"], "id": "@"})
        assert read(yaml.safe_dump(file).replace("'@'", "2024-01-31")).runner.id == "2024-01-31"

    def test_anchors_and_merged_mappings_are_yaml_too(self) -> None:
        text = (
            yaml.safe_dump(LEAST)
            + """
pools:
  one: &one {driver: printer, namespace: a, nodeSelector: {x: y}}
  two:
    <<: *one
    namespace: b
  three: {<<: [*one]}
"""
        )
        config = read(text)
        assert config.pools["two"].driver == config.pools["three"].driver == "printer"
        assert (config.pools["two"].namespace, config.pools["three"].namespace) == ("b", "a")

    @pytest.mark.parametrize(
        "text",
        [
            f"runner:\n  id: r\n  privateKey: |\n    -----BEGIN\n {SECRET}\n    x\n",
            f"runner:\n  id: r\n  privateKey: @{SECRET}\n",
            f"runner:\n  id: r\n  privateKey: '{SECRET}\n",
            f"runner:\n  id: r\n  privateKey: !!int {SECRET}\n",
            f'runner:\n  id: r\n  privateKey: "\\q{SECRET}"\n',
            f"runner:\n  id: r\n  privateKey: {{{SECRET}\n",
            f"runner:\n\t{SECRET}\n",
        ],
    )
    def test_no_line_of_the_file_is_quoted_since_it_may_be_one_of_a_key(self, text: str) -> None:
        with pytest.raises(Malformed, match=r"line \d+") as caught:
            read(text)
        assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r}"
        assert caught.value.__suppress_context__

    @pytest.mark.parametrize("value", ["010", "0_7", "1:30", "1:30.5", "-012"])
    def test_what_only_old_yaml_reads_as_a_number_is_text(self, value: str) -> None:
        good = yaml.safe_dump(least())
        config = read(f"{good}apps: [{value}]\nlocal: {{directory: {value}}}")
        assert config.local.directory == value
        with pytest.raises(Invalid) as caught:
            read(f"{good}local: {{parallelism: {value}}}")
        assert [problem.pointer for problem in caught.value.problems] == ["/local/parallelism"]

    @pytest.mark.parametrize(
        "text",
        ["local: {~: 1}", "pools: {yes: {}}", "on: 1", 'x: "\\ud800"', "x: 0x" + "f" * 5000, "x: " + "[" * 20_000],
    )
    def test_the_line_of_what_json_cannot_hold_is_named(self, text: str) -> None:
        with pytest.raises(Malformed, match=r"line \d+"):
            read(text)

    @given(st.text())
    def test_any_text_is_answered_with_our_errors_only(self, text: str) -> None:
        with pytest.raises(OrchestratorError):
            read(text)

    @given(
        st.dictionaries(
            st.sampled_from(
                ["runner", "deepsource", "pools", "sidecar", "http", "driver", "defaultPool", "kubernetes", "x"]
            ),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(
                            ["id", "privateKey", "host", "publicKey", "socket", "workers", "driver", "memory"]
                        ),
                        inner,
                    )
                ),
                max_leaves=6,
            ),
        )
    )
    def test_so_is_any_document(self, document: dict[str, Any]) -> None:
        try:
            read(document, ENVIRONMENT)
        except OrchestratorError:
            return


class TestFile:
    def test_it_is_the_one_given_else_the_environments_else_here(self) -> None:
        assert locate("a.yaml", {"ORCHESTRATOR_CONFIG": "b.yaml"}) == Path("a.yaml")
        assert locate(None, {"ORCHESTRATOR_CONFIG": "b.yaml"}) == Path("b.yaml")
        assert locate(None, {"ORCHESTRATOR_CONFIG": ""}) == locate(None, {}) == Path(DEFAULT_PATH)
        assert DEFAULT_PATH == "orchestrator.yaml"

    def test_it_is_read_as_utf_8(self, tmp_path: Path) -> None:
        path = tmp_path / "orchestrator.yaml"
        file = least(runner={**LEAST["runner"], "id": "rünner"})
        path.write_text(yaml.safe_dump(file, allow_unicode=True), encoding="utf-8")
        assert load(path, {}).runner.id == "rünner"
        assert load(path, ENVIRONMENT).artifact_secret_name == "artifacts-environment"

    @pytest.mark.parametrize(
        "make", [lambda path: path.mkdir(), lambda path: path.write_bytes(b"\xff"), lambda path: None]
    )
    def test_one_that_cannot_be_read_is_named(self, make: Callable[[Path], object], tmp_path: Path) -> None:
        path = tmp_path / "orchestrator.yaml"
        make(path)
        with pytest.raises(Malformed, match=r"orchestrator\.yaml cannot be read"):
            load(path, {})
