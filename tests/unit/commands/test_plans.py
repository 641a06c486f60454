"""runner.commands: a request as jobs, to the letter of the wire contract."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.commands import plan
from runner.config.types import Config
from runner.errors import TooLarge
from runner.jobs import (
    Cancellation,
    Container,
    Deadlines,
    JobSpec,
    Report,
    Resources,
    Secret,
    SecretRef,
    TokenClaims,
    Volume,
)
from runner.request_types import REQUEST_TYPES
from tests.unit.documents import changed, drop, places, put, read, whole

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RUNS = sorted(set(REQUEST_TYPES) - {"cancel_check_run"})
"""The request types that start a job."""

REGISTRY = "registry.example:5000/team/analyzers"
CONFIG_TEXT = json.dumps(whole("analysis_run")["config"], separators=(",", ":"))
OIDS = {
    "base": whole("analysis_run")["vcs_meta"]["base_oid"],
    "checkout": whole("analysis_run")["vcs_meta"]["checkout_oid"],
}


@pytest.fixture(scope="module")
def installed(make_config: Callable[..., Config]) -> Config:
    """As a large installation has it."""
    return make_config(
        deepsource={"host": "atlas.example/", "publicKey": "-----BEGIN PUBLIC KEY-----"},
        kubernetes={"imageRegistry": {"registryUrl": REGISTRY}},
        objectStorage={"provider": "s3", "bucket": "snippets"},
        sentry={"dsn": "https://key@sentry.example/1"},
        pools={"plan-pf": {}},
        limits={"queueSeconds": 60, "cloneSeconds": 30},
        artifactSecretName="artifact-credentials",
    )


def job(request_type: str, config: Config) -> JobSpec:
    """The job of a whole request."""
    return of(read(request_type, whole(request_type)), config)


def of(request: Any, config: Config) -> JobSpec:
    (only,) = plan(request, config)
    assert isinstance(only, JobSpec)
    return only


def flags(container: Container) -> dict[str, Any]:
    """The arguments by flag; every flag has exactly one value."""
    names, values = container.args[::2], container.args[1::2]
    assert len(names) == len(values) == len(set(names))
    return dict(zip(names, values, strict=True))


def env(container: Container) -> dict[str, Any]:
    variables = dict(container.env)
    assert len(variables) == len(container.env)
    return variables


def secret(name: str) -> SecretRef:
    return SecretRef(name=name)


PUBLISHER = {
    "PUBLISHER": "http",
    "RESULT_HTTP_TOKEN": secret("RESULT_HTTP_TOKEN"),
    "ARTIFACTS_CREDENTIALS_PATH": "/credentials/credentials",
    "SENTRY_DSN": secret("SENTRY_DSN"),
}
KEYS = {"SSH_PRIVATE_KEY": secret("SSH_PRIVATE_KEY"), "SSH_PUBLIC_KEY": secret("SSH_PUBLIC_KEY")}
MAIN = {
    "CODE_PATH": "/code",
    "TOOLBOX_PATH": "/toolbox",
    "MEMORY_LIMIT": "6501Mi",
    "CPU_LIMIT": "2400m",
    "TIME_LIMIT": "1500",
    "ON_PREM": "true",
}
RESULTS = {
    "analysis_run": ("/api/runner/analysis/results", "contrib.atlas.tasks.store_analysis_run_result", "analysis.*"),
    "autofix_run": ("/api/runner/autofix/results", "contrib.atlas.tasks.store_autofix_run_result", "autofix.*"),
    "transformer_run": (
        "/api/runner/transformer/results",
        "contrib.atlas.tasks.store_transformer_run_result",
        "transform.*",
    ),
    "patcher_run": (
        "/api/runner/autofix/committer/results",
        "contrib.runner.tasks.store_autofix_committer_result",
        "autofix.*",
    ),
    "ssh_verify_run": (
        "/api/runner/ssh-verify/results",
        "contrib.atlas.tasks.store_ssh_verify_result",
        "ssh_verify.*",
    ),
}
ROLES = {
    "analysis_run": "analysis",
    "autofix_run": "autofix",
    "transformer_run": "transformer",
    "patcher_run": "patcher",
    "ssh_verify_run": "ssh-verify",
}
NAMES = {
    "analysis_run": "analysis-s7-r-1-3",
    "autofix_run": "autofix-s7-r-1-1",
    "transformer_run": "transformer-s7-r-1",
    "patcher_run": "patcher-s7-r-1",
    "ssh_verify_run": "ssh-verify-r-1",
}
MAIN_IMAGES = {
    "analysis_run": f"{REGISTRY}/marvin-python:2.1",
    "autofix_run": f"{REGISTRY}/marvin-python:2.1",
    "transformer_run": f"{REGISTRY}/bumblebee:2.1",
    "patcher_run": f"{REGISTRY}/coat:latest",
    "ssh_verify_run": f"{REGISTRY}/coat:latest",
}


class TestEveryJob:
    def test_the_tables_of_this_test_have_every_request_type(self) -> None:
        for table in (RESULTS, ROLES, NAMES, MAIN_IMAGES):
            assert sorted(table) == RUNS

    @pytest.mark.parametrize("kind", RUNS)
    def test_name_labels_and_image_are_the_contracts(self, kind: str, installed: Config) -> None:
        made = job(kind, installed)
        name = NAMES[kind]
        analyzer = {"analyzer": "python"} if kind in ("analysis_run", "autofix_run") else {}
        assert made.name == name
        assert made.labels == {"application": name, "manager": "runner"}
        assert made.pod_labels == {"application": name, "role": ROLES[kind], **analyzer}
        assert made.main.image == MAIN_IMAGES[kind]

    @pytest.mark.parametrize("kind", RUNS)
    def test_the_report_says_where_the_result_goes(self, kind: str, installed: Config) -> None:
        (path, task, scope) = RESULTS[kind]
        assert job(kind, installed).report == Report(
            request_type=kind,
            run_id="r-1",
            path=path,
            task=task,
            scope=scope,
            check_seq={"analysis_run": "3", "autofix_run": "1"}.get(kind, ""),
            analyzer="python" if kind in ("analysis_run", "autofix_run") else "",
        )

    @pytest.mark.parametrize("kind", RUNS)
    def test_all_containers_share_the_contracts_volumes(self, kind: str, installed: Config) -> None:
        assert job(kind, installed).volumes == (
            Volume(name="codedir", path="/code"),
            Volume(name="artifactsdir", path="/artifacts"),
            Volume(name="ssh", path="/home/runner/.ssh"),
            Volume(name="marvindir", path="/marvin"),
            Volume(name="credentialsdir", path="/credentials", existing_secret="artifact-credentials"),
        )

    @pytest.mark.parametrize("kind", sorted(set(RUNS) - {"ssh_verify_run"}))
    def test_a_job_may_wait_clone_and_run_and_its_token_outlives_it(self, kind: str, installed: Config) -> None:
        made = job(kind, installed)
        assert made.deadlines == Deadlines(queue=60, clone=30, run=1500)
        assert made.secrets["RESULT_HTTP_TOKEN"] == TokenClaims(
            scope=RESULTS[kind][2], run_id="r-1", job=NAMES[kind], lifetime=60 + 30 + 1500 + 900
        )

    @pytest.mark.parametrize("kind", RUNS)
    def test_the_pool_is_the_requests_where_the_config_has_it(self, kind: str, installed: Config) -> None:
        for requested, pool in (("plan-pf", "plan-pf"), ("unheard-of", "default"), ("", "default")):
            request = read(kind, {**whole(kind), "_meta": {"resource_pool": requested}})
            assert of(request, installed).pool == pool
        assert of(read(kind, {**whole(kind), "_meta": None}), installed).pool == "default"

    @pytest.mark.parametrize("kind", sorted(set(RUNS) - {"ssh_verify_run"}))
    def test_a_token_outlasts_the_queue_that_may_hold_its_job(
        self, kind: str, make_config: Callable[..., Config]
    ) -> None:
        config = make_config(pools={"held": {"queueName": "batch"}, "free": {}})
        held, free = (
            next(
                secret.lifetime
                for secret in of(read(kind, {**whole(kind), "_meta": {"resource_pool": pool}}), config).secrets.values()
                if isinstance(secret, TokenClaims)
            )
            for pool in ("held", "free")
        )
        assert held - free == 7 * 24 * 3600

    @pytest.mark.parametrize("kind", RUNS)
    def test_no_secret_is_anywhere_but_among_the_secrets(self, kind: str, installed: Config) -> None:
        made = job(kind, installed)
        values = [value.reveal() for value in made.secrets.values() if isinstance(value, Secret)]
        assert all(values)
        assert {name for container in made.containers for name in container.secret_names()} == set(made.secrets)
        shown = repr(made)
        written = [text for container in made.containers for text in container.args if isinstance(text, str)]
        for value in [*values, "clone-token", "internal-secret", "signed", "private"]:
            assert value not in shown
            assert all(value not in text for text in written)

    @pytest.mark.parametrize("kind", RUNS)
    def test_what_is_empty_is_no_secret(self, kind: str, make_config: Callable[..., Config]) -> None:
        document = {**whole(kind), "keys": {}}
        made = of(read(kind, document), make_config())
        assert not {"SSH_PRIVATE_KEY", "SSH_PUBLIC_KEY", "SENTRY_DSN"} & set(made.secrets)
        for container in made.containers:
            assert env(container).get("SSH_PRIVATE_KEY", "") == ""
            assert env(container).get("SENTRY_DSN", "") == ""

    def test_planning_is_deterministic(self, request_type: str, installed: Config) -> None:
        first, second = (plan(read(request_type, whole(request_type)), installed) for _ in range(2))
        assert first == second

    def test_the_commands_that_are_started_are_fixed_text(self, installed: Config) -> None:
        marvin = ("/bin/sh", "-c", 'cp /marvin/marvin /toolbox/marvin && exec /toolbox/marvin "$@"', "marvin")
        for kind in ("analysis_run", "autofix_run", "transformer_run"):
            made = job(kind, installed)
            assert made.main.name == "marvin"
            assert made.main.command == marvin
            assert made.init is not None
            assert made.init.name == "coat"
            assert made.init.command == ("/app/coat",)
        patcher = job("patcher_run", installed)
        assert (patcher.init, patcher.main.name, patcher.main.command) == (None, "coat", ("/app/coat",))

    @pytest.mark.parametrize("kind", sorted(set(RUNS) - {"patcher_run", "ssh_verify_run"}))
    def test_coat_clones_before_with_its_own_resources(self, kind: str, installed: Config) -> None:
        init = job(kind, installed).init
        assert init is not None
        assert init.image == f"{REGISTRY}/coat:latest"
        assert init.requests == Resources(cpu=300, memory=500)
        assert init.limits == Resources(cpu=1400, memory=4000)
        (path, task, _) = RESULTS[kind]
        urls = {"RESULT_HTTP_URL": f"https://atlas.example{path}", "RESULT_RMQ_TASK": task}
        assert env(init) == {**KEYS, **PUBLISHER, **urls}

    @pytest.mark.parametrize("kind", sorted(set(RUNS) - {"patcher_run", "ssh_verify_run"}))
    def test_marvin_gets_what_it_is_limited_to(self, kind: str, installed: Config) -> None:
        main = job(kind, installed).main
        assert main.requests == main.limits == Resources(cpu=2400, memory=6501)
        (path, task, _) = RESULTS[kind]
        urls = {"RESULT_HTTP_URL": f"https://atlas.example{path}", "RESULT_RMQ_TASK": task}
        assert env(main) == {**MAIN, **PUBLISHER, **urls}


class TestAnalysis:
    def test_coats_flags(self, installed: Config) -> None:
        init = job("analysis_run", installed).init
        assert init is not None
        assert init.args == (
            *("--run-id", "r-1", "--check-seq", "3", "--remote-url", secret("REMOTE_URL"), "--base-branch", "main"),
            *("--checkout-oid", OIDS["checkout"], "--clone-submodules", "true"),
            *("--artifacts", secret("ARTIFACTS"), "--decrypt-remote-url", "false"),
        )

    def test_submodules_are_cloned_only_where_the_request_says_so(self, installed: Config) -> None:
        for kind, role in (("analysis_run", "init"), ("autofix_run", "init"), ("patcher_run", "main")):
            made = of(changed(kind, "/vcs_meta/clone_submodules", False), installed)
            assert flags(getattr(made, role))["--clone-submodules"] == "false"

    def test_artifacts_are_json_and_a_secret_since_their_urls_are_signed(self, installed: Config) -> None:
        value = job("analysis_run", installed).secrets["ARTIFACTS"]
        assert isinstance(value, Secret)
        assert json.loads(value.reveal()) == whole("analysis_run")["checks"][0]["artifacts"]

    def test_what_an_artifact_does_not_say_is_said_to_be_empty(self, installed: Config) -> None:
        value = of(changed("analysis_run", "/checks/0/artifacts", [{}]), installed).secrets["ARTIFACTS"]
        assert isinstance(value, Secret)
        assert json.loads(value.reveal()) == [{"key": "", "url": "", "metadata": {}}]

    def test_no_artifacts_are_an_empty_list(self, installed: Config) -> None:
        made = of(changed("analysis_run", "/checks/0/artifacts", []), installed)
        assert made.init is not None
        assert flags(made.init)["--artifacts"] == "[]"
        assert "ARTIFACTS" not in made.secrets

    def test_marvins_flags(self, installed: Config) -> None:
        args = job("analysis_run", installed).main.args
        assert args[::2] == ("--analyze", "--config", "--snippet-storage-type", "--snippet-storage-bucket")
        assert args[3::2] == (CONFIG_TEXT, "s3", "snippets")

    def test_the_modes_toml_has_exactly_the_contracts_keys(self, installed: Config) -> None:
        assert tomllib.loads(flags(job("analysis_run", installed).main)["--analyze"]) == {
            "runID": "r-1",
            "runSerial": "7",
            "checkSeq": "3",
            "analyzerShortcode": "python",
            "analyzerCommand": "/app/marvin-python",
            "analyzerType": "core",
            "baseOID": OIDS["base"],
            "checkoutOID": OIDS["checkout"],
            "repository": "team/code",
            "is_full_run": True,
            "isForDefaultAnalysisBranch": True,
            "dsConfigUpdated": True,
            "processors": ["source_code_load", "skip_cq"],
            "diffMetaCommits": [{"commitOID": "bbbbbbb", "paths": ["src/a.py", "src/b.py"]}],
            "previousCompletedRunCommitOID": "ccccccc",
            "repoID": 42,
        }

    def test_the_toml_of_a_bare_request_has_the_same_keys(self, installed: Config) -> None:
        document = whole("analysis_run")
        full = tomllib.loads(flags(job("analysis_run", installed).main)["--analyze"])
        for place in ("/repo_id", "/is_full_run", "/ds_config_updated", "/previous_completed_run_commit_oid"):
            drop(document, place)
        for place in ("processors", "diff_meta_commits", "analyzer_meta/command", "analyzer_meta/analyzer_type"):
            drop(document, f"/checks/0/{place}")
        for place in ("base_oid", "repository_name", "previous_completed_run_commit_oid"):
            drop(document, f"/vcs_meta/{place}")
        bare = tomllib.loads(flags(of(read("analysis_run", document), installed).main)["--analyze"])
        assert set(bare) == set(full)
        assert bare["diffMetaCommits"] == bare["processors"] == []
        assert bare["previousCompletedRunCommitOID"] == bare["repository"] == ""

    def test_the_previous_run_may_stand_with_the_code_instead(self, installed: Config) -> None:
        document = drop(whole("analysis_run"), "/previous_completed_run_commit_oid")
        toml = tomllib.loads(flags(of(read("analysis_run", document), installed).main)["--analyze"])
        assert toml["previousCompletedRunCommitOID"] == "aaaaaaa"

    def test_each_check_is_a_job(self, installed: Config) -> None:
        document = whole("analysis_run")
        document["checks"] = [{**document["checks"][0], "check_seq": str(number)} for number in (3, 1, 20)]
        names = [each.name for each in plan(read("analysis_run", document), installed)]
        assert names == ["analysis-s7-r-1-3", "analysis-s7-r-1-1", "analysis-s7-r-1-20"]

    @pytest.mark.parametrize(
        ("analyzer_type", "image"),
        [
            ("core", "marvin-python:2.1"),
            ("community", "python:2.1"),
            ("", "python:2.1"),
            ("Core", "python:2.1"),
            ("core ", "python:2.1"),
        ],
    )
    def test_core_analyzers_alone_are_marvins(self, analyzer_type: str, image: str, installed: Config) -> None:
        request = changed("analysis_run", "/checks/0/analyzer_meta/analyzer_type", analyzer_type)
        assert of(request, installed).main.image == f"{REGISTRY}/{image}"

    @pytest.mark.parametrize(
        ("registry", "image"),
        [
            ("", "marvin-team/python:2.1"),
            ("registry.example", "registry.example/marvin-team/python:2.1"),
            ("registry.example:5000", "registry.example:5000/marvin-team/python:2.1"),
            ("registry.example:5000/a/b", "registry.example:5000/a/b/marvin-team/python:2.1"),
            ("registry.example/a/", "registry.example/a/marvin-team/python:2.1"),
            ("https://registry.example:5000/a/", "registry.example:5000/a/marvin-team/python:2.1"),
            ("http://registry.example", "registry.example/marvin-team/python:2.1"),
        ],
    )
    def test_a_registry_may_carry_a_port_and_a_path(
        self, registry: str, image: str, make_config: Callable[..., Config]
    ) -> None:
        config = make_config(kubernetes={"imageRegistry": {"registryUrl": registry}})
        assert of(changed("analysis_run", "/checks/0/analyzer_meta/name", "team/python"), config).main.image == image

    @pytest.mark.parametrize(
        ("host", "url"),
        [
            ("atlas.example", "https://atlas.example/api"),
            ("https://atlas.example", "https://atlas.example/api"),
            ("http://atlas.example:8000/", "http://atlas.example:8000/api"),
            ("https://example/atlas/", "https://example/atlas/api"),
        ],
    )
    def test_results_go_to_the_configured_host(self, host: str, url: str, make_config: Callable[..., Config]) -> None:
        config = make_config(deepsource={"host": host, "publicKey": "-----BEGIN PUBLIC KEY-----"})
        assert env(job("analysis_run", config).main)["RESULT_HTTP_URL"].startswith(url)

    def test_limits_may_be_numbers(self, installed: Config) -> None:
        document = put(whole("analysis_run"), "/checks/0/analyzer_meta/cpu_limit", 1)
        made = of(read("analysis_run", put(document, "/checks/0/analyzer_meta/memory_limit", 4)), installed)
        assert made.main.limits == Resources(cpu=1, memory=4)
        assert (env(made.main)["CPU_LIMIT"], env(made.main)["MEMORY_LIMIT"]) == ("1m", "4Mi")


class TestAutofix:
    def test_coats_flags(self, installed: Config) -> None:
        init = job("autofix_run", installed).init
        assert init is not None
        assert init.args == (
            *("--run-id", "r-1", "--check-seq", "1", "--remote-url", secret("REMOTE_URL"), "--base-branch", "main"),
            *("--checkout-oid", OIDS["checkout"], "--clone-submodules", "true", "--decrypt-remote-url", "false"),
        )

    def test_marvins_flags(self, installed: Config) -> None:
        args = job("autofix_run", installed).main.args
        assert args[::2] == ("--autofix", "--config", "--snippet-storage-type", "--snippet-storage-bucket")
        assert args[3::2] == (CONFIG_TEXT, "s3", "snippets")

    def test_the_modes_toml_is_compressed_and_encoded(self, installed: Config) -> None:
        packed = base64.b64decode(flags(job("autofix_run", installed).main)["--autofix"], validate=True)
        toml = tomllib.loads(zstd.decompress(packed).decode())
        issues = json.loads(toml.pop("autofix_issues"))
        assert toml == {
            "runID": "r-1",
            "analyzerShortcode": "python",
            "autofixerCommand": "/app/autofix.sh",
            "checkoutOID": OIDS["checkout"],
        }
        assert issues == whole("autofix_run")["autofixer"]["autofixes"]

    def test_what_an_issue_does_not_say_is_said_to_be_empty(self, installed: Config) -> None:
        made = of(changed("autofix_run", "/autofixer/autofixes", [{"occurrences": [{}]}]), installed)
        toml = tomllib.loads(zstd.decompress(base64.b64decode(flags(made.main)["--autofix"])).decode())
        nowhere = {"line": 0, "column": 0}
        occurrence = {"path": "", "position": {"begin": nowhere, "end": nowhere}}
        assert json.loads(toml["autofix_issues"]) == [{"issue_code": "", "occurrences": [occurrence]}]

    def test_it_is_compressed_at_the_contracts_level(self, installed: Config) -> None:
        packed = base64.b64decode(flags(job("autofix_run", installed).main)["--autofix"])
        assert packed == zstd.compress(zstd.decompress(packed), level=15)


class TestTransformer:
    def test_coats_flags(self, installed: Config) -> None:
        init = job("transformer_run", installed).init
        assert init is not None
        assert init.args == (
            *("--run-id", "r-1", "--check-seq", "1", "--remote-url", secret("REMOTE_URL"), "--base-branch", "main"),
            *("--checkout-oid", OIDS["checkout"], "--clone-submodules", "true", "--decrypt-remote-url", "false"),
        )

    def test_marvins_flags(self, installed: Config) -> None:
        args = job("transformer_run", installed).main.args
        assert args[::2] == ("--transform", "--config")
        assert args[3::2] == (CONFIG_TEXT,)

    def test_the_modes_toml_has_exactly_the_contracts_keys(self, installed: Config) -> None:
        assert tomllib.loads(flags(job("transformer_run", installed).main)["--transform"]) == {
            "runID": "r-1",
            "baseOID": OIDS["base"],
            "checkoutOID": OIDS["checkout"],
            "transformerCommand": "/app/bumblebee",
            "transformerTools": ["black", "isort"],
            "dsConfigUpdated": True,
            "patch_commit": {
                "Author": {"Name": "Format Bot", "Email": "bot@example.com"},
                "Commit": {
                    "Title": "style: format",
                    "Message": "With black.\n\nAnd isort.",
                    "DestinationBranch": "main",
                },
            },
        }


class TestPatcher:
    def test_artifacts_that_are_not_there_are_said_to_be_empty(self, installed: Config) -> None:
        made = flags(of(changed("patcher_run", "/artifacts", {}), installed).main)
        assert json.loads(made["--artifacts"]) == {"key": "", "patch_ids": {}}

    def test_coats_flags(self, installed: Config) -> None:
        made = flags(job("patcher_run", installed).main)
        assert json.loads(made.pop("--artifacts")) == whole("patcher_run")["artifacts"]
        assert made == {
            "--run-id": "r-1",
            "--remote-url": secret("REMOTE_URL"),
            "--base-branch": "main",
            "--checkout-oid": OIDS["checkout"],
            "--clone-submodules": "true",
            "--decrypt-remote-url": "false",
            "--patch-meta": '{"title": "fix: apply patches"}',
            "--snippet-storage-type": "s3",
            "--snippet-storage-bucket": "snippets",
        }

    def test_it_sees_both_sets_of_variables_but_for_the_limits(self, installed: Config) -> None:
        (path, task, _) = RESULTS["patcher_run"]
        urls = {"RESULT_HTTP_URL": f"https://atlas.example{path}", "RESULT_RMQ_TASK": task}
        sizes = ("MEMORY_LIMIT", "CPU_LIMIT")
        without_sizes = {name: value for name, value in MAIN.items() if name not in sizes}
        assert env(job("patcher_run", installed).main) == {**without_sizes, **KEYS, **PUBLISHER, **urls}

    def test_it_has_coats_resources(self, installed: Config) -> None:
        main = job("patcher_run", installed).main
        assert main.requests == Resources(cpu=300, memory=500)
        assert main.limits == Resources(cpu=1400, memory=4000)


class TestCancelCheck:
    def test_it_stops_the_analysis_of_that_name_and_answers_under_its_own_id(self, installed: Config) -> None:
        request = read("cancel_check_run", whole("cancel_check_run"))
        assert plan(request, installed) == (
            Cancellation(
                name="analysis-s7-r-1-3",
                labels={"application": "analysis-s7-r-1-3", "manager": "runner"},
                report=Report(
                    request_type="cancel_check_run",
                    run_id="c-1",
                    check_seq="3",
                    path="/api/runner/cancel-check/results",
                    task="contrib.atlas.tasks.confirm_check_cancellation",
                    scope="analysis.*",
                ),
            ),
        )

    @given(
        run_id=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True),
        run_serial=st.from_regex(r"[0-9]{1,20}", fullmatch=True),
        check_seq=st.from_regex(r"[0-9]{1,20}", fullmatch=True),
    )
    def test_it_always_finds_the_name_that_the_analysis_gets(
        self, run_id: str, run_serial: str, check_seq: str, installed: Config
    ) -> None:
        analysis = {**whole("analysis_run"), "run_id": run_id, "run_serial": run_serial}
        analysis["checks"][0]["check_seq"] = check_seq
        meta = {"run_id": run_id, "run_serial": run_serial, "check_seq": check_seq}
        cancel = {**whole("cancel_check_run"), "analysis_meta": meta}
        (made,) = plan(read("analysis_run", analysis), installed)
        (stopped,) = plan(read("cancel_check_run", cancel), installed)
        assert (stopped.name, stopped.labels) == (made.name, made.labels)


HOSTILE = [
    "$(RESULT_HTTP_TOKEN)",
    "${RESULT_HTTP_TOKEN}",
    "$RESULT_HTTP_TOKEN",
    "$$(X)",
    "{{ env `HOME` }}",
    "`id`",
    "$(id)",
    "; id #",
    "a' ; id '",
    'a" ; id "',
    '"""',
    "'''",
    "\\",
    "\\n",
    "]]",
    "= [x]\\u0000",
    "é\U0001f600",
]
LINES = [
    ("analysis_run", "/vcs_meta/repository_name", ("--analyze", "repository")),
    ("analysis_run", "/checks/0/analyzer_meta/command", ("--analyze", "analyzerCommand")),
    ("analysis_run", "/checks/0/analyzer_meta/analyzer_type", ("--analyze", "analyzerType")),
    ("analysis_run", "/checks/0/processors", ("--analyze", "processors")),
    ("transformer_run", "/transformer/command", ("--transform", "transformerCommand")),
    ("transformer_run", "/transformer/tools", ("--transform", "transformerTools")),
    ("transformer_run", "/patch_commit/commit/title", ("--transform", "patch_commit", "Commit", "Title")),
    ("transformer_run", "/patch_commit/commit/message", ("--transform", "patch_commit", "Commit", "Message")),
    ("transformer_run", "/patch_commit/author/name", ("--transform", "patch_commit", "Author", "Name")),
]


class TestHostileValues:
    """What a request says arrives as those very characters, and starts nothing."""

    @pytest.mark.parametrize("value", HOSTILE)
    @pytest.mark.parametrize(("kind", "place", "where"), LINES, ids=[place for _, place, _ in LINES])
    def test_in_the_toml(self, kind: str, place: str, where: tuple[str, ...], value: str, installed: Config) -> None:
        sent: Any = [value, "x"] if place.endswith(("s", "tools")) else value
        made = of(changed(kind, place, sent), installed)
        assert made.main.command == job(kind, installed).main.command
        seen: Any = tomllib.loads(flags(made.main)[where[0]])
        for key in where[1:]:
            seen = seen[key]
        assert seen == sent

    @pytest.mark.parametrize("value", HOSTILE)
    def test_in_coats_arguments(self, value: str, installed: Config) -> None:
        made = of(changed("analysis_run", "/vcs_meta/base_branch", value), installed)
        assert made.init is not None
        assert flags(made.init)["--base-branch"] == value
        assert made.init.command == ("/app/coat",)

    @given(message=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
    def test_a_commit_message_may_hold_any_characters(self, message: str, installed: Config) -> None:
        made = of(changed("transformer_run", "/patch_commit/commit/message", message), installed)
        toml = tomllib.loads(flags(made.main)["--transform"])
        assert toml["patch_commit"]["Commit"]["Message"] == message

    @given(paths=st.lists(st.from_regex(r"[^\x00-\x1f\x7f-\x9f/.\-][^\x00-\x1f\x7f-\x9f/.]{0,20}", fullmatch=True)))
    def test_so_may_the_paths_of_a_change(self, paths: list[str], installed: Config) -> None:
        paths = [path for path in paths if path.isprintable()]
        made = of(changed("analysis_run", "/checks/0/diff_meta_commits/0/paths", paths), installed)
        assert tomllib.loads(flags(made.main)["--analyze"])["diffMetaCommits"][0]["paths"] == paths

    def test_flags_keep_their_places_whatever_the_values(self, installed: Config) -> None:
        for kind in RUNS:
            document = whole(kind)
            for place, value in places(whole(kind)):
                if isinstance(value, str) and place in ("/vcs_meta/base_branch", "/patch_meta", "/artifacts/key"):
                    put(document, place, "$(X) --check-seq 9")
            args = [container.args[::2] for container in of(read(kind, document), installed).containers]
            assert args == [container.args[::2] for container in job(kind, installed).containers]


EDGE = 131071
"""Bytes: Linux' MAX_ARG_STRLEN is 131072 with the closing NUL (execve(2))."""


def _filled(kind: str, place: str, size: int) -> Any:
    """The whole request with an argument of as many bytes, from that place."""
    around = len('{"x":""}')
    return changed(kind, place, {"x": "a" * (size - around)} if place == "/config" else "a" * size)


class TestSize:
    def test_the_edge_is_the_kernels_own(self) -> None:
        subprocess.run(["/bin/true", "a" * EDGE], check=True)
        subprocess.run(["/bin/true"], env={"X": "a" * (EDGE - 2)}, check=True)
        with pytest.raises(OSError, match="Argument list too long"):
            subprocess.run(["/bin/true", "a" * (EDGE + 1)], check=True)
        with pytest.raises(OSError, match="Argument list too long"):
            subprocess.run(["/bin/true"], env={"X": "a" * (EDGE - 1)}, check=True)

    @pytest.mark.parametrize(
        ("kind", "place", "named"),
        [
            ("analysis_run", "/config", "--config of marvin"),
            ("autofix_run", "/config", "--config of marvin"),
            ("transformer_run", "/config", "--config of marvin"),
            ("patcher_run", "/patch_meta", "--patch-meta of coat"),
        ],
    )
    def test_an_argument_that_no_kernel_passes_is_too_large(
        self, kind: str, place: str, named: str, installed: Config
    ) -> None:
        of(_filled(kind, place, EDGE), installed)
        with pytest.raises(TooLarge, match=f"{named} has {EDGE + 1} bytes"):
            of(_filled(kind, place, EDGE + 1), installed)

    def test_bytes_count_and_not_characters(self, installed: Config) -> None:
        def filled(size: int) -> Any:
            return put(whole("patcher_run"), "/patch_meta", "é" * (size // 2) + "a" * (size % 2))

        of(read("patcher_run", filled(EDGE)), installed)
        with pytest.raises(TooLarge, match=f"{EDGE + 1} bytes"):
            of(read("patcher_run", filled(EDGE + 1)), installed)

    @pytest.mark.parametrize(
        ("place", "name"), [("/keys/ssh/private", "SSH_PRIVATE_KEY"), ("/keys/ssh/public", "SSH_PUBLIC_KEY")]
    )
    def test_a_secret_has_to_fit_the_environment_with_its_name(self, place: str, name: str, installed: Config) -> None:
        fits = EDGE - len(f"{name}=")
        of(changed("analysis_run", place, "a" * fits), installed)
        with pytest.raises(TooLarge, match=name) as caught:
            of(changed("analysis_run", place, "a" * (fits + 1)), installed)
        assert "aaa" not in caught.value.detail

    def test_artifacts_have_to_fit_as_well(self, installed: Config) -> None:
        artifact = {"key": "k" * 1000, "url": "https://a/b", "metadata": {}}
        with pytest.raises(TooLarge, match="ARTIFACTS"):
            of(changed("analysis_run", "/checks/0/artifacts", [artifact] * 150), installed)

    def test_a_toml_and_what_is_packed_have_to_fit_as_well(self, installed: Config) -> None:
        with pytest.raises(TooLarge, match="--analyze of marvin"):
            of(changed("analysis_run", "/checks/0/diff_meta_commits/0/paths", ["p" * 4000] * 40), installed)
        occurrences = [{"path": "src/a.py", "position": {"begin": {"line": line}}} for line in range(20_000)]
        # Far over the edge as TOML; compressed it fits.
        of(changed("autofix_run", "/autofixer/autofixes/0/occurrences", occurrences), installed)

    def test_one_check_that_does_not_fit_refuses_the_request(self, installed: Config) -> None:
        document = whole("analysis_run")
        document["checks"].append({**document["checks"][0], "check_seq": "4", "processors": ["p" * 1000] * 200})
        with pytest.raises(TooLarge):
            plan(read("analysis_run", document), installed)
