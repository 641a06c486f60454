"""runner.cli: `python -m runner`, command by command, with its exit codes."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import jwt
import msgspec
import pytest
import yaml
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from functions.bearer import verify
from runner.cli import main
from runner.config.drivers import LocalImage
from runner.drivers.local.driver import LocalDriver
from runner.errors import Unauthenticated
from runner.jobs import Cancellation, Report
from runner.payloads import RequestPolicy
from runner.request_types import REQUEST_TYPES
from runner.runtime import exit_codes
from runner.runtime.clock import SystemClock
from tests.cluster.certificates import Authority
from tests.conformance import jobs
from tests.conftest import ROOT, KeyPair, make_key_pair
from tests.harness.deadlines import within
from tests.harness.snapshots import snapshot
from tests.unit.documents import put, whole

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """One command, in an empty directory and with an empty environment."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path, stdin: bytes | str | None = None, **environ: str) -> Result:
        cleared = dict.fromkeys(("ORCHESTRATOR_CONFIG", "ORCHESTRATOR_TOKEN", "TASK_NAMESPACE"), None)
        result = CliRunner().invoke(main, [*map(str, arguments)], input=stdin, env={**cleared, **environ})
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


@pytest.fixture
def config_file(tmp_path: Path, document: dict[str, Any]) -> Callable[..., Path]:
    """A good configuration, with some sections replaced."""

    def write(**sections: Any) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump({**document, **sections}))
        return path

    return write


@pytest.fixture
def payload(tmp_path: Path) -> Callable[..., Path]:
    """A file with a whole request, or with any other document."""

    def write(kind: str, document: Any = None) -> Path:
        path = tmp_path / f"{kind}.json"
        path.write_text(json.dumps(whole(kind) if document is None else document))
        return path

    return write


class TestHelp:
    def test_the_exit_codes_are_documented_line_by_line(self, run: Run) -> None:
        lines = [line.strip().removeprefix("Exit codes:").strip() for line in run("--help").stdout.splitlines()]
        documented = dict(line.split(maxsplit=1) for line in lines if line[:1].isdigit())
        assert {code: meaning.split(" ")[0] for code, meaning in documented.items()} == {
            "0": "done",
            str(exit_codes.DEFECT): "internal",
            str(exit_codes.USAGE): "the",
            str(exit_codes.CONFIGURATION): "the",
            str(exit_codes.REFUSED): "the",
            str(exit_codes.LATER): "not",
        }
        assert "configuration" in documented[str(exit_codes.CONFIGURATION)]
        assert "refused" in documented[str(exit_codes.REFUSED)]
        assert "later" in documented[str(exit_codes.LATER)]

    def test_examples_stand_on_lines_of_their_own(self, run: Run) -> None:
        assert any(line.endswith("python -m runner jobs list") for line in run("--help").stdout.splitlines())

    def test_every_command_and_option_says_what_it_is_for(self) -> None:
        def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
            for name, command in group.commands.items():
                yield " ".join((*path, name)), command
                if isinstance(command, click.Group):
                    yield from commands(command, (*path, name))

        every = dict(commands(main))
        assert {
            "up",
            "serve",
            "check-config",
            "section",
            "render",
            "submit",
            "jobs list",
            "jobs show",
            "jobs explain",
            "jobs wait",
            "jobs logs",
            "jobs cancel",
        } <= set(every)
        for name, command in every.items():
            assert command.help, name
            assert command.get_short_help_str(200).endswith((".", ":")), name
            for parameter in command.params:
                if isinstance(parameter, click.Option) and parameter.name not in ("driver", "lines"):
                    assert parameter.help, (name, parameter.name)

    @pytest.mark.parametrize(
        "arguments",
        [
            ["nonsense"],
            ["render"],
            ["render", "nonsense", "-"],
            ["jobs", "show"],
            ["section", "runner"],
            ["--nonsense"],
        ],
    )
    def test_a_wrong_command_line_is_2(self, arguments: list[str], run: Run) -> None:
        assert run(*arguments).exit_code == exit_codes.USAGE

    def test_an_unknown_request_type_is_answered_with_all_of_them(self, run: Run) -> None:
        text = run("render", "nonsense", "-").stderr
        assert all(kind in text for kind in REQUEST_TYPES)


class TestRender:
    @pytest.mark.parametrize("kind", sorted(REQUEST_TYPES))
    def test_every_request_type_is_shown_without_any_configuration(
        self, kind: str, run: Run, payload: Callable[..., Path]
    ) -> None:
        result = run("render", kind, payload(kind))
        assert result.exit_code == 0
        kinds = [each["kind"] for each in yaml.safe_load_all(result.stdout)]
        assert kinds == (["Job"] if kind == "cancel_check_run" else ["Job", "Secret"])

    @pytest.mark.parametrize(
        ("spelling", "kind"),
        [
            ("analysis", "analysis_run"),
            ("autofix", "autofix_run"),
            ("transformer", "transformer_run"),
            ("transforer", "transformer_run"),
            ("transforer_run", "transformer_run"),
            ("ssh-verify", "ssh_verify_run"),
            ("ssh_verify", "ssh_verify_run"),
            ("cancel-check", "cancel_check_run"),
            ("cancel_check", "cancel_check_run"),
            ("commit", "patcher_run"),
            ("patcher", "patcher_run"),
        ],
    )
    def test_a_type_may_be_spelt_as_in_its_path(
        self, spelling: str, kind: str, run: Run, payload: Callable[..., Path]
    ) -> None:
        assert run("render", spelling, payload(kind)).stdout == run("render", kind, payload(kind)).stdout

    def test_the_sample_of_the_readme_is_shown(self, run: Run) -> None:
        result = run("render", "analysis", ROOT / "examples" / "analysis.json")
        assert (result.exit_code, result.stderr) == (0, "")
        assert "marvin-python:dev" in result.stdout

    def test_a_payload_may_come_from_standard_input(self, run: Run, payload: Callable[..., Path]) -> None:
        result = run("render", "analysis", "-", stdin=payload("analysis_run").read_bytes())
        assert result.stdout == run("render", "analysis", payload("analysis_run")).stdout

    @pytest.mark.parametrize("kind", sorted(set(REQUEST_TYPES) - {"cancel_check_run"}))
    def test_secrets_are_masked(self, kind: str, run: Run, payload: Callable[..., Path]) -> None:
        result = run("render", kind, payload(kind))
        (_, secret) = yaml.safe_load_all(result.stdout)
        assert set(secret["stringData"].values()) == {"***"}
        for value in ("clone-token", "private", "X-Amz-Signature"):
            assert value not in result.output

    def test_unless_they_are_asked_for(
        self, run: Run, payload: Callable[..., Path], config_file: Callable[..., Path], runner_keys: KeyPair
    ) -> None:
        result = run("render", "analysis", payload("analysis_run"), "--reveal", "--config", config_file())
        (_, secret) = yaml.safe_load_all(result.stdout)
        assert secret["stringData"]["REMOTE_URL"] == whole("analysis_run")["vcs_meta"]["remote_url"]
        assert secret["stringData"]["SSH_PRIVATE_KEY"] == whole("analysis_run")["keys"]["ssh"]["private"]
        token = jwt.decode(secret["stringData"]["RESULT_HTTP_TOKEN"], runner_keys.public, algorithms=["RS256"])
        assert (token["iss"], token["scp"], token["run_id"]) == ("runner-1", "analysis.*", "r-1")

    def test_without_a_key_the_token_says_why_it_is_none(self, run: Run, payload: Callable[..., Path]) -> None:
        result = run("render", "analysis", payload("analysis_run"), "--reveal")
        (_, secret) = yaml.safe_load_all(result.stdout)
        assert "runner.privateKey" in secret["stringData"]["RESULT_HTTP_TOKEN"]

    def test_the_configuration_counts_wherever_it_is_found(
        self, run: Run, payload: Callable[..., Path], config_file: Callable[..., Path]
    ) -> None:
        path = config_file(kubernetes={"namespace": "jobs"})
        assert "namespace: jobs" in run("render", "analysis", payload("analysis_run"), "--config", path).stdout
        assert (
            "namespace: jobs"
            in run("render", "analysis", payload("analysis_run"), ORCHESTRATOR_CONFIG=str(path)).stdout
        )
        path.rename(path.with_name("orchestrator.yaml"))
        assert "namespace: jobs" in run("render", "analysis", payload("analysis_run")).stdout

    def test_a_bad_configuration_is_3(
        self, run: Run, payload: Callable[..., Path], config_file: Callable[..., Path]
    ) -> None:
        result = run("render", "analysis", payload("analysis_run"), "--config", config_file(nonsense=1))
        assert (result.exit_code, result.stdout) == (exit_codes.CONFIGURATION, "")
        assert "nonsense is not a known key" in result.stderr

    def test_a_bad_payload_is_4_with_everything_that_is_wrong(self, run: Run, payload: Callable[..., Path]) -> None:
        document = put(put(whole("analysis_run"), "/run_id", "a b"), "/vcs_meta/remote_url", "ext::sh")
        result = run("render", "analysis", payload("analysis_run", document))
        assert (result.exit_code, result.stdout) == (exit_codes.REFUSED, "")
        assert "/run_id must be 1 to 64 ASCII letters" in result.stderr
        assert "/vcs_meta/remote_url must be an https, http or ssh URL" in result.stderr
        assert "invalid: 2 problem(s) to fix" in result.stderr

    @pytest.mark.parametrize(
        ("body", "code"),
        [(b"", "malformed"), (b"\xff", "malformed"), (b"[]", "invalid"), (b" " * (4 << 20) + b"{}", "too_large")],
    )
    def test_so_is_what_is_none(self, body: bytes, code: str, run: Run) -> None:
        result = run("render", "analysis", "-", stdin=body)
        assert (result.exit_code, result.stdout) == (exit_codes.REFUSED, "")
        assert f"{code}:" in result.stderr

    def test_and_one_whose_job_could_not_be_started(self, run: Run, payload: Callable[..., Path]) -> None:
        document = put(whole("analysis_run"), "/config", {"x": "a" * 200_000})
        result = run("render", "analysis", payload("analysis_run", document))
        assert (result.exit_code, "too_large: the value of --config" in result.stderr) == (exit_codes.REFUSED, True)

    def test_a_missing_payload_is_2(self, run: Run) -> None:
        assert run("render", "analysis", "nowhere.json").exit_code == exit_codes.USAGE


TLS = {"certificate": "{tmp}/a.crt", "key": "{tmp}/a.key"}


@pytest.fixture(scope="session")
def pem_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A certificate with its key, another key, the key with a password, and a revocation list: names and content."""
    authority = Authority(tmp_path_factory.mktemp("pki"), "a")
    authority.create()
    key, other = (
        load_pem_private_key(text, None) for text in (authority.pair.key.read_bytes(), make_key_pair().private.encode())
    )
    forms = {
        "a.key": (key, NoEncryption()),
        "b.key": (other, NoEncryption()),
        "locked.key": (key, BestAvailableEncryption(b"x")),
    }
    keys = {
        name: each.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()
        for name, (each, encryption) in forms.items()
    }
    empty = x509.CertificateRevocationListBuilder(
        x509.Name([]), last_update=datetime(2026, 1, 1), next_update=datetime(2050, 1, 1)
    )
    revoked = empty.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()
    return {"a.crt": authority.pair.certificate.read_text(), "a.crl": revoked, **keys}


class TestCheckConfig:
    @pytest.fixture(autouse=True)
    def default_places(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An ordinary user may write to the directories of the defaults, as after an installation."""
        access = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: str(path) in ("/run", "/var/lib") or access(path, mode))

    def test_a_good_one_is_summed_up(self, run: Run, config_file: Callable[..., Path]) -> None:
        pools = {
            "gold": {"driver": "printer"},
            "silver": {"driver": "kubernetes", "namespace": "paying"},
            "bronze": {"driver": "local"},
        }
        path = config_file(
            pools=pools, defaultPool="bronze", kubernetes={"namespace": "jobs"}, http={"bind": "0.0.0.0:80"}
        )
        result = run("check-config", "--config", path)
        assert (result.exit_code, result.stderr) == (0, "")
        lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
        assert lines[0] == "The configuration is good."
        assert "we are runner-1, for atlas at https://atlas.example" in lines
        assert "pool gold printer" in lines
        assert "pool silver kubernetes: namespace paying" in lines
        assert "pool bronze local: in /var/lib/orchestrator/jobs, 2 at a time (whatever names no other pool)" in lines
        assert any("http on 0.0.0.0:80 (tokens of the control plane)" in line for line in lines)

    def test_missing_authentication_is_mentioned(self, run: Run, config_file: Callable[..., Path]) -> None:
        result = run("check-config", "--config", config_file(http={"allowUnauthenticated": True}))
        assert "(no token needed)" in result.stdout

    @pytest.mark.parametrize(
        ("sections", "warned"),
        [
            ({"http": {"bind": "0.0.0.0:80"}}, []),
            ({"http": {"bind": "0.0.0.0:80", "allowUnauthenticated": True}}, ["http on 0.0.0.0:80"]),
            ({"http": {"bind": "[::]:80", "allowUnauthenticated": True}}, ["http on [::]:80"]),
            ({"http": {"bind": "node-7:80", "allowUnauthenticated": True}}, ["http on node-7:80"]),
            ({"http": {"bind": "127.1.2.3:80", "allowUnauthenticated": True}}, []),
            ({"http": {"bind": "[::1]:80", "allowUnauthenticated": True}}, []),
            ({"http": {"bind": "localhost:80", "allowUnauthenticated": True}, "grpc": {"bind": "10.0.0.1:1"}}, []),
            (
                {"http": {"allowUnauthenticated": True}, "grpc": {"bind": "10.0.0.1:1"}, "protocols": ["http", "grpc"]},
                ["grpc on 10.0.0.1:1"],
            ),
        ],
    )
    def test_requests_without_tokens_from_other_hosts_are_warned_of(
        self, run: Run, config_file: Callable[..., Path], sections: dict[str, Any], warned: list[str]
    ) -> None:
        result = run("check-config", "--config", config_file(**sections))
        assert (result.exit_code, result.stderr) == (0, "")
        found = [line.split("beware")[1].strip() for line in result.stdout.splitlines() if "without a token" in line]
        assert [line.partition(" accepts ")[0] for line in found] == warned

    @pytest.mark.parametrize(
        ("sections", "named"),
        [
            (
                {"driver": "local", "local": {"directory": "{tmp}/file/jobs"}},
                ["local.directory", "{tmp}/file is no dir"],
            ),
            (
                {
                    "driver": "local",
                    "local": {"directory": "{tmp}/jobs", "images": {"coat": {"command": ["{tmp}/file"]}}},
                },
                ["local.images.coat.command", "{tmp}/file"],
            ),
            (
                {"driver": "local", "local": {"directory": "{tmp}/jobs", "images": {"coat": {"command": ["no-coat"]}}}},
                ["local.images.coat.command", "no-coat"],
            ),
            (
                {"sidecar": {"socket": "{tmp}/file/run.sock", "workers": 1}},
                ["sidecar.socket", "{tmp}/file is no directory"],
            ),
            ({"driver": "nomad", "nomad": {"tokenFile": "{tmp}/missing"}}, ["nomad.tokenFile", "{tmp}/missing"]),
            ({"sidecar": {"socket": "{tmp}", "workers": 1}}, ["sidecar.socket", "a directory: {tmp}"]),
            ({"metrics": {"bind": "unix:{tmp}"}}, ["metrics.bind", "a directory: {tmp}"]),
            ({"metrics": {"bind": "unix:{tmp}/file/x"}}, ["metrics.bind", "{tmp}/file is no directory"]),
            (
                {"protocols": ["amqp"], "rabbitmq": {"healthFile": "{tmp}"}},
                ["rabbitmq.healthFile", "a directory: {tmp}"],
            ),
            ({"driver": "nomad", "nomad": {"tokenFile": "{tmp}"}}, ["nomad.tokenFile", "cannot be read: {tmp}"]),
            ({"driver": "nomad", "nomad": {"tokenFile": "{tmp}/kubeconfig"}}, ["nomad.tokenFile", "is no token"]),
            *(
                (sections, [key, f"{said}: {{tmp}}{path}"])
                for path, said in (
                    *(("/missing", "cannot be read"), ("", "cannot be read"), ("/pipe", "cannot be read")),
                    *(
                        ("/file", "PEM certificates"),
                        ("/kubeconfig", "PEM certificates"),
                        ("/a.key", "PEM certificates"),
                        ("/a.crl", "PEM certificates"),
                    ),
                )
                for key, sections in (
                    ("results.caFile", {"results": {"caFile": f"{{tmp}}{path}"}}),
                    ("nomad.caFile", {"driver": "nomad", "nomad": {"caFile": f"{{tmp}}{path}"}}),
                    (
                        "grpc.tls.clientCa",
                        {"protocols": ["grpc"], "grpc": {"tls": {**TLS, "clientCa": f"{{tmp}}{path}"}}},
                    ),
                    (
                        "grpc.tls.certificate",
                        {"protocols": ["grpc"], "grpc": {"tls": {"certificate": f"{{tmp}}{path}"}}},
                    ),
                    (
                        "nomad.certFile",
                        {"driver": "nomad", "nomad": {"certFile": f"{{tmp}}{path}", "keyFile": "{tmp}/a.key"}},
                    ),
                )
            ),
            *(
                (
                    {"driver": "nomad", "nomad": {"certFile": "{tmp}/a.crt", "keyFile": f"{{tmp}}{key}"}},
                    ["nomad.certFile", said],
                )
                for key, said in (
                    *(("/file", "a private key"), ("/a.crt", "a private key")),
                    *(("/b.key", "that belongs to it"), ("/locked.key", "not encrypted")),
                )
            ),
            (
                {"protocols": ["amqp"], "rabbitmq": {"healthFile": "{tmp}/file/health"}},
                ["rabbitmq.healthFile", "{tmp}/file"],
            ),
            (
                {"driver": "kubernetes", "kubernetes": {"kubeconfig": "{tmp}/missing"}},
                ["kubernetes.kubeconfig", "there is no kubeconfig at {tmp}/missing"],
            ),
            (
                {"driver": "kubernetes", "kubernetes": {"kubeconfig": "{tmp}/kubeconfig", "context": "x"}},
                ["kubernetes.kubeconfig", "no user 'ghost'"],
            ),
        ],
    )
    def test_what_this_host_lacks_is_named(
        self,
        run: Run,
        config_file: Callable[..., Path],
        tmp_path: Path,
        pem_files: dict[str, str],
        sections: dict[str, Any],
        named: list[str],
    ) -> None:
        (tmp_path / "file").touch()
        os.mkfifo(tmp_path / "pipe")
        for name, text in pem_files.items():
            (tmp_path / name).write_text(text)
        context = {"name": "x", "context": {"cluster": "c", "user": "ghost"}}
        cluster = {"name": "c", "cluster": {"server": "https://a"}}
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump({"clusters": [cluster], "contexts": [context]}))
        sections = json.loads(json.dumps(sections).replace("{tmp}", str(tmp_path)))
        result = run("check-config", "--config", config_file(**sections), ORCHESTRATOR_AMQP_URL="amqp://a")
        assert (result.exit_code, result.stdout) == (exit_codes.CONFIGURATION, "")
        (line,) = (line for line in result.stderr.splitlines() if not line.endswith("has 1 error(s):"))
        for part in named:
            assert part.replace("{tmp}", str(tmp_path)) in line

    @pytest.mark.parametrize(
        ("files", "named"),
        [
            ({"CA": "a.crt", "CERTIFICATE": "a.crt", "KEY": "a.key"}, ""),
            ({"CA": "a.key"}, "ORCHESTRATOR_AMQP_CA_FILE must name a file of PEM certificates"),
            ({"CERTIFICATE": "a.crt", "KEY": "b.key"}, "ORCHESTRATOR_AMQP_CERTIFICATE_FILE needs a private key"),
        ],
    )
    def test_so_are_the_brokers_files(
        self,
        run: Run,
        config_file: Callable[..., Path],
        tmp_path: Path,
        pem_files: dict[str, str],
        files: dict[str, str],
        named: str,
    ) -> None:
        for name, text in pem_files.items():
            (tmp_path / name).write_text(text)
        environ = {f"ORCHESTRATOR_AMQP_{name}_FILE": str(tmp_path / file) for name, file in files.items()}
        path = config_file(protocols=["amqp"])
        result = run("check-config", "--config", path, ORCHESTRATOR_AMQP_URL="amqps://a", **environ)
        assert (result.exit_code == 0, result.stderr.startswith(named)) == (not named, True)

    def test_good_files_are_taken(
        self, run: Run, config_file: Callable[..., Path], tmp_path: Path, pem_files: dict[str, str]
    ) -> None:
        for name, text in {**pem_files, "token": "t\n", "both": pem_files["a.crt"] + pem_files["a.key"]}.items():
            (tmp_path / name).write_text(text)
        (tmp_path / "bundle").write_text(f"# Főtanúsítvány\n{pem_files['a.crt']}\n# another\n{pem_files['a.crt']}")
        pem = {name: str(tmp_path / name) for name in ("a.crt", "a.key", "both", "bundle", "token")}
        nomad = {"caFile": pem["bundle"], "certFile": pem["a.crt"], "keyFile": pem["a.key"], "tokenFile": pem["token"]}
        path = config_file(
            results={"caFile": pem["bundle"]},
            protocols=["grpc"],
            grpc={"tls": {"certificate": pem["both"], "clientCa": pem["bundle"]}},
            driver="nomad",
            nomad=nomad,
        )
        result = run("check-config", "--config", path)
        assert (result.exit_code, result.stderr) == (0, "")

    def test_a_driver_that_is_not_used_needs_nothing(self, run: Run, config_file: Callable[..., Path]) -> None:
        sections = {"local": {"directory": "/proc/x", "images": {"coat": {"command": ["no-coat"]}}}}
        nomad, kubernetes = {"tokenFile": "/missing"}, {"kubeconfig": "/missing"}
        result = run("check-config", "--config", config_file(**sections, nomad=nomad, kubernetes=kubernetes))
        assert (result.exit_code, result.stderr) == (0, "")

    def test_outside_a_pod_a_missing_kubeconfig_is_warned_of(
        self, run: Run, config_file: Callable[..., Path], tmp_path: Path
    ) -> None:
        path = config_file(driver="kubernetes")
        places: list[tuple[dict[str, str], bool]] = [
            ({}, True),
            ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),
            ({"KUBECONFIG": f"/missing:{path}"}, False),
        ]
        for environ, warned in places:
            result = run("check-config", "--config", path, HOME=str(tmp_path), **environ)
            assert (result.exit_code, "beware          of Kubernetes" in result.stdout) == (0, warned)

    @pytest.mark.parametrize(("threads", "advised"), [(49, False), (50, True)])
    def test_more_connections_than_nomad_takes_are_mentioned(
        self, run: Run, config_file: Callable[..., Path], threads: int, advised: bool
    ) -> None:
        """The tracker has one as well."""
        sidecar = {"workers": 2, "threads": threads}
        nomad = {"driver": "nomad", "nomad": {"address": "https://nomad.example:4646"}}
        result = run("check-config", "--config", config_file(sidecar=sidecar, **nomad))
        assert (result.exit_code, "http_max_conns_per_client" in result.stdout) == (0, advised)
        elsewhere = run("check-config", "--config", config_file(sidecar=sidecar))
        assert "http_max_conns_per_client" not in elsewhere.stdout

    def test_every_error_is_named_as_a_person_writes_the_key(self, run: Run, config_file: Callable[..., Path]) -> None:
        path = config_file(http={"workers": 0}, pools={"a/b": {"drivr": "x"}}, deepsource={})
        result = run("check-config", "--config", path)
        assert (result.exit_code, result.stdout) == (exit_codes.CONFIGURATION, "")
        assert "config.yaml has 4 error(s):" in result.stderr
        assert "  http.workers must be a number from 1 to 1024" in result.stderr
        assert "  pools.a/b.drivr is not a known key; did you mean 'driver'?" in result.stderr
        assert "  deepsource.host is required: results go there" in result.stderr

    def test_both_keys_are_tried(self, run: Run, config_file: Callable[..., Path], runner_keys: KeyPair) -> None:
        bad = "-----BEGIN X-----\nhunter2\n-----END X-----\n"
        path = config_file(runner={"id": "r", "privateKey": bad}, deepsource={"host": "a", "publicKey": bad})
        result = run("check-config", "--config", path)
        assert (result.exit_code, result.stdout) == (exit_codes.CONFIGURATION, "")
        assert "runner.privateKey" in result.stderr
        assert "deepsource.publicKey" in result.stderr
        assert "hunter2" not in result.output
        swapped = config_file(deepsource={"host": "a", "publicKey": runner_keys.private})
        assert "deepsource.publicKey" in run("check-config", "--config", swapped).stderr

    @pytest.mark.parametrize("text", ["runner: [", "- a", "runner: {id: a, id: b}", "\0"])
    def test_a_file_that_is_no_yaml_is_3(self, text: str, run: Run, tmp_path: Path) -> None:
        (tmp_path / "orchestrator.yaml").write_text(text)
        result = run("check-config")
        assert (result.exit_code, result.stdout) == (exit_codes.CONFIGURATION, "")
        assert "configuration" in result.stderr

    def test_so_is_a_missing_one(self, run: Run) -> None:
        result = run("check-config")
        assert (result.exit_code, "orchestrator.yaml cannot be read" in result.stderr) == (
            exit_codes.CONFIGURATION,
            True,
        )

    def test_no_secret_is_shown(self, run: Run, config_file: Callable[..., Path], runner_keys: KeyPair) -> None:
        result = run("check-config", "--config", config_file(sentry={"dsn": "https://hunter2@sentry.example/1"}))
        assert result.exit_code == 0
        assert "hunter2" not in result.output
        assert not any(line in result.output for line in runner_keys.private.splitlines()[1:-1])


class TestToken:
    def test_a_token_is_made_with_a_new_key(self, run: Run, config_file: Callable[..., Path], tmp_path: Path) -> None:
        key = tmp_path / "trial.pem"
        made = run("token", "--new", "--key", key)
        assert (made.exit_code, made.stderr) == (0, "")
        assert key.stat().st_mode & 0o777 == 0o600
        assert run("token", "--new", "--key", key).exit_code == exit_codes.USAGE

        path = config_file(deepsource={"host": "a", "publicKey": made.stdout})
        token = run("token", "--key", key, "--config", path)
        assert (token.exit_code, token.stderr) == (0, "")
        policy = RequestPolicy(runner_id="runner-1", public_key=made.stdout)
        now = SystemClock().wall()
        verify(f"Bearer {token.stdout.strip()}", policy, now)
        with pytest.raises(Unauthenticated):
            verify(f"Bearer {token.stdout.strip()}", policy, now + 3700)

    def test_a_key_may_come_from_standard_input(
        self, run: Run, config_file: Callable[..., Path], atlas_keys: KeyPair, tmp_path: Path
    ) -> None:
        token = run("token", "--key", "-", "--config", config_file(), stdin=atlas_keys.private)
        assert (token.exit_code, token.stderr) == (0, "")
        policy = RequestPolicy(runner_id="runner-1", public_key=atlas_keys.public)
        verify(f"Bearer {token.stdout.strip()}", policy, SystemClock().wall())

        assert run("token", "--new", "--key", "-").exit_code == exit_codes.USAGE
        assert not (tmp_path / "-").exists()

    def test_a_key_that_is_not_accepted_is_warned_of(
        self, run: Run, config_file: Callable[..., Path], tmp_path: Path, runner_keys: KeyPair
    ) -> None:
        key = tmp_path / "other.pem"
        key.write_text(runner_keys.private)
        result = run("token", "--key", key, "--config", config_file())
        assert (result.exit_code, len(result.stdout.split("."))) == (0, 3)
        assert "beware: the public half of this key is not in deepsource.publicKey" in result.stderr

    def test_without_a_configuration_the_runner_is_named(self, run: Run, tmp_path: Path, runner_keys: KeyPair) -> None:
        key = tmp_path / "other.pem"
        key.write_text(runner_keys.private)
        assert run("token", "--key", key).exit_code == exit_codes.CONFIGURATION
        token = run("token", "--key", key, "--runner-id", "r-7").stdout.strip()
        verify(f"Bearer {token}", RequestPolicy(runner_id="r-7", public_key=runner_keys.public), SystemClock().wall())

    @pytest.mark.parametrize("text", ["hunter2", "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2", None])
    def test_a_file_without_a_key_is_2(self, text: str | None, run: Run, tmp_path: Path) -> None:
        key = tmp_path / "key.pem"
        if text:
            key.write_text(text)
        result = run("token", "--key", key, "--runner-id", "r")
        assert (result.exit_code, result.stdout) == (exit_codes.USAGE, "")
        assert "key.pem" in result.stderr
        assert "hunter2" not in result.output


class TestSection:
    @pytest.mark.parametrize(
        ("name", "section"),
        [
            ("http", {"bind": "0.0.0.0:80", "workers": 3, "threads": 4, "allowUnauthenticated": True}),
            (
                "grpc",
                {
                    "bind": "0.0.0.0:81", "workers": 1, "concurrency": 5,
                    "tls": {"certificate": "", "key": "", "clientCa": ""},
                },
            ),
            (
                "rabbitmq",
                {
                    "exchange": "e", "queues": {"analysis_run": {"queue": "q", "key": "k"}}, "queueType": "quorum",
                    "declare": False, "prefetch": 1, "threads": 2, "delays": [3, 9], "healthFile": "/h",
                },
            ),
        ],
    )  # fmt: skip
    def test_it_is_printed_as_one_line_of_json_by_the_keys_of_the_file(
        self, name: str, section: dict[str, Any], run: Run, config_file: Callable[..., Path]
    ) -> None:
        result = run("section", name, "--config", config_file(**{name: section}))
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.count("\n") == 1
        assert json.loads(result.stdout) == section

    @pytest.mark.parametrize("name", ["http", "grpc", "rabbitmq"])
    def test_no_secret_is_in_it(
        self, name: str, run: Run, config_file: Callable[..., Path], runner_keys: KeyPair
    ) -> None:
        path = config_file(sentry={"dsn": "https://hunter2@sentry.example/1"})
        result = run("section", name, "--config", path, ORCHESTRATOR_AMQP_URL="amqp://u:hunter2@broker/")
        assert result.exit_code == 0
        assert "hunter2" not in result.output
        assert not any(line in result.output for line in runner_keys.private.splitlines()[1:-1])

    def test_a_wrong_configuration_prints_nothing_on_standard_output(
        self, run: Run, config_file: Callable[..., Path]
    ) -> None:
        result = run("section", "http", "--config", config_file(http={"bind": "x"}))
        assert (result.exit_code, result.stdout) == (exit_codes.CONFIGURATION, "")
        assert "http.bind must be host:port" in result.stderr


class Server:
    """Answers every POST with the same words, and remembers what came."""

    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body_sent = self.rfile.read(int(self.headers["Content-Length"]))
                server.requests.append((self.path, dict(self.headers), body_sent))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                self.do_POST()

            def log_message(self, *_: object) -> None:
                """Silent."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(status: int, body: Any = b"", **headers: str) -> Server:
        words = body if isinstance(body, bytes) else json.dumps(body).encode()
        servers.append(Server(status, words, headers))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


class TestSubmit:
    MADE = {"jobs": [{"name": "analysis-s7-r-1-3", "driver": "local", "state": "created"}], "x_new": 1}

    @pytest.mark.parametrize("kind", sorted(REQUEST_TYPES))
    def test_a_request_goes_to_its_types_path_and_the_jobs_are_printed(
        self, kind: str, run: Run, payload: Callable[..., Path], serve: Callable[..., Server]
    ) -> None:
        server = serve(201, self.MADE)
        result = run("submit", kind, payload(kind), "--url", f"{server.url}/", "--token", "t.o.k")
        assert (result.exit_code, result.stdout.split()) == (0, ["created", "local", "analysis-s7-r-1-3"])
        ((path, headers, body),) = server.requests
        assert path == REQUEST_TYPES[kind].paths[0]
        assert (headers["Authorization"], headers["Content-Type"]) == ("Bearer t.o.k", "application/json")
        assert body == payload(kind).read_bytes()

    def test_a_token_may_come_from_a_file_or_the_environment_or_not_at_all(
        self, run: Run, payload: Callable[..., Path], serve: Callable[..., Server], tmp_path: Path
    ) -> None:
        server = serve(200, {"jobs": []})
        (tmp_path / "token").write_text("f.i.le\n")
        arguments = ("submit", "analysis", payload("analysis_run"), "--url", server.url)
        assert run(*arguments, "--token", f"@{tmp_path}/token").exit_code == 0
        assert run(*arguments, ORCHESTRATOR_TOKEN="e.n.v").exit_code == 0
        assert run(*arguments).exit_code == 0
        sent = [headers.get("Authorization") for _, headers, _ in server.requests]
        assert sent == ["Bearer f.i.le", "Bearer e.n.v", None]

    @pytest.mark.parametrize(
        ("code", "status", "exit_code"),
        [
            ("malformed", 400, exit_codes.REFUSED),
            ("unauthenticated", 401, exit_codes.REFUSED),
            ("forbidden", 403, exit_codes.REFUSED),
            ("conflict", 409, exit_codes.REFUSED),
            ("too_large", 413, exit_codes.REFUSED),
            ("unsupported_media_type", 415, exit_codes.REFUSED),
            ("invalid", 422, exit_codes.REFUSED),
            ("rejected", 422, exit_codes.REFUSED),
            ("busy", 429, exit_codes.LATER),
            ("internal", 500, exit_codes.DEFECT),
            ("unavailable", 503, exit_codes.LATER),
            ("timeout", 504, exit_codes.LATER),
        ],
    )
    def test_a_refusal_has_its_exit_code(
        self,
        code: str,
        status: int,
        exit_code: int,
        run: Run,
        payload: Callable[..., Path],
        serve: Callable[..., Server],
    ) -> None:
        problem = {"code": code, "detail": "it went wrong", "errors": [{"pointer": "/a", "message": "is b"}]}
        server = serve(status, problem if code == "invalid" else {"code": code, "detail": "it went wrong"})
        result = run("submit", "analysis", payload("analysis_run"), "--url", server.url)
        assert (result.exit_code, result.stdout) == (exit_code, "")
        assert ("  /a is b" if code == "invalid" else f"{code}: it went wrong") in result.stderr

    @pytest.mark.parametrize("status", [200, 201, 400, 502])
    @pytest.mark.parametrize(
        "body", [b"", b"<html>hello</html>", b"[]", b"{}", b'{"code": 5}', b"\xff", b'{"jobs": [{}]}']
    )
    def test_an_answer_from_somebody_else_is_said_to_be_one(
        self, status: int, body: bytes, run: Run, payload: Callable[..., Path], serve: Callable[..., Server]
    ) -> None:
        result = run("submit", "analysis", payload("analysis_run"), "--url", serve(status, body).url)
        assert (result.exit_code, result.stdout) == (exit_codes.DEFECT, "")
        assert "not from an Orchestrator" in result.stderr

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_the_token_does_not_follow_a_redirect(
        self, status: int, run: Run, payload: Callable[..., Path], serve: Callable[..., Server]
    ) -> None:
        elsewhere = serve(200, self.MADE)
        server = serve(status, Location=f"{elsewhere.url}/tasks/analysis")
        result = run("submit", "analysis", payload("analysis_run"), "--url", server.url, "--token", "t.o.k")
        assert result.exit_code == exit_codes.DEFECT
        assert elsewhere.requests == []

    def test_nobody_there_is_5(self, run: Run, payload: Callable[..., Path], serve: Callable[..., Server]) -> None:
        server = serve(200)
        server.stop()
        result = run("submit", "analysis", payload("analysis_run"), "--url", server.url)
        assert (result.exit_code, "unavailable" in result.stderr) == (exit_codes.LATER, True)

    @pytest.mark.parametrize(
        "options",
        [
            ["--url", "ftp://a"],
            ["--url", "a"],
            ["--url", "http://a", "--token", "@nowhere"],
            ["--url", "http://a", "--token", "two\nlines"],
        ],
    )
    def test_a_wrong_address_or_token_is_2(self, options: list[str], run: Run, payload: Callable[..., Path]) -> None:
        result = run("submit", "analysis", payload("analysis_run"), *options)
        assert result.exit_code == exit_codes.USAGE
        assert "two" not in result.output


class TestJobs:
    @pytest.fixture
    def local(self, tmp_path: Path, config_file: Callable[..., Path]) -> Path:
        """A configuration of this host, whose one job has been cancelled before it came."""
        directory = tmp_path / "jobs"
        driver = LocalDriver(directory, parallelism=1, images={}, resolve_secrets=lambda _: {}, clock=SystemClock())
        report = Report(request_type="cancel_check_run", run_id="c-1", path="/p", task="t", scope="s")
        cancellation = Cancellation(name="analysis-s0-r-1-1", labels={}, report=report)
        assert driver.cancel(cancellation, within(10), tombstone=True) == "cancelled"
        return config_file(driver="local", local={"directory": str(directory)})

    def test_none_are_said_to_be_none(self, run: Run, config_file: Callable[..., Path]) -> None:
        result = run("jobs", "list", "--config", config_file())
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", "There are no such jobs; --all shows all.\n")
        assert run("jobs", "list", "--all", "--config", config_file()).stderr == "There are no jobs.\n"

    @pytest.mark.parametrize("command", [["show"], ["explain"], ["wait"], ["logs"], ["cancel"]])
    def test_one_that_is_not_there_is_4(self, command: list[str], run: Run, config_file: Callable[..., Path]) -> None:
        result = run("jobs", *command, "analysis-s0-r-9-1", "--config", config_file())
        assert (result.exit_code, result.stdout) == (exit_codes.REFUSED, "")
        assert "there is no job analysis-s0-r-9-1" in result.stderr

    def test_a_list_has_name_state_reason_and_age(self, run: Run, local: Path) -> None:
        result = run("jobs", "list", "--config", local)
        assert (result.exit_code, result.stderr) == (0, "")
        (name, state, reason, age, *why) = result.stdout.split()
        assert (name, state, reason) == ("analysis-s0-r-1-1", "cancelled", "cancelled")
        assert age.endswith("s")
        assert " ".join(why) == "The run was cancelled."

    def test_one_is_shown_with_reason_and_code(self, run: Run, local: Path) -> None:
        result = run("jobs", "show", "analysis-s0-r-1-1", "--config", local)
        shown = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
        assert (shown["name"], shown["state"], shown["code"]) == ("analysis-s0-r-1-1", "cancelled", "5000")
        assert shown["meaning"] == "The run was cancelled."

    @pytest.mark.parametrize("command", [["list"], ["list", "--all"], ["show", "job-that-waits"]])
    def test_reading_starts_no_job_that_waits(
        self, command: list[str], run: Run, tmp_path: Path, config_file: Callable[..., Path]
    ) -> None:
        directory = tmp_path / "jobs"
        settings = {"parallelism": 1, "images": {"*": LocalImage()}, "clock": SystemClock()}
        without_python = {**settings, "python": "/nonexistent/python"}  # so no shim starts
        driver = LocalDriver(directory, resolve_secrets=lambda _: {}, **without_python)  # type: ignore[arg-type]
        assert driver.submit(jobs.job("shell", "true", name="job-that-waits"), within(10)) == "created"
        before = snapshot(directory)

        result = run("jobs", *command, "--config", config_file(driver="local", local={"directory": str(directory)}))

        assert (result.exit_code, result.stderr) == (0, "")
        assert "waiting" in result.stdout
        time.sleep(0.5)  # for a shim to start
        assert snapshot(directory) == before

    def test_cancelling_again_is_no_error(self, run: Run, local: Path) -> None:
        result = run("jobs", "cancel", "analysis-s0-r-1-1", "--config", local)
        assert (result.exit_code, result.stderr) == (0, "")

    def test_a_bad_configuration_is_3(self, run: Run, config_file: Callable[..., Path]) -> None:
        assert run("jobs", "list", "--config", config_file(nonsense=1)).exit_code == exit_codes.CONFIGURATION


def test_the_answer_of_the_functions_can_be_read() -> None:
    """What functions/http/application.py writes, and what is read here, are one type."""
    from runner.cli.requests import SubmitResponse
    from runner.jobs import JobResult

    result = JobResult(name="a", driver="b", state="exists")
    assert msgspec.json.decode(msgspec.json.encode({"jobs": (result,)}), type=SubmitResponse).jobs == (result,)
