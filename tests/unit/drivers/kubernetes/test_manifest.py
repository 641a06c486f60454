"""runner.drivers.kubernetes.manifest: a job as Kubernetes objects. Every value reaches the container unchanged."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runner.commands import plan
from runner.config.types import Config
from runner.drivers.kubernetes.manifest import (
    CANCELLED,
    CONTAINERS,
    FINGERPRINT,
    POOL,
    REPORT,
    SECRET,
    job_manifest,
    literal,
    secret_manifest,
    tombstone_manifest,
)
from runner.jobs import Cancellation, Container, JobSpec, Report, Secret, SecretRef
from runner.request_types import REQUEST_TYPES
from tests.unit.documents import put, read, whole

RUNS = sorted(set(REQUEST_TYPES) - {"cancel_check_run"})


@pytest.fixture(scope="module")
def cluster(make_config: Callable[..., Config]) -> Config:
    return make_config(
        kubernetes={
            "namespace": "jobs",
            "nodeSelector": {"disk": "ssd"},
            "imageRegistry": {"registryUrl": "registry.example", "pullSecretName": "pull"},
        },
        pools={
            "plan-pf": {
                "namespace": "paying",
                "nodeSelector": {"pool": "large"},
                "tolerations": [
                    {"key": "large", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0},
                    {"operator": "Exists", "effect": "NoExecute"},
                ],
                "priorityClassName": "high",
                "queueName": "analyses",
            }
        },
        sentry={"dsn": "https://key@sentry.example/1"},
        artifactSecretName="artifact-credentials",
    )


def jobs(kind: str, config: Config, **changes: Any) -> JobSpec:
    document = {**whole(kind), "_meta": {}}
    for place, value in changes.items():
        put(document, place.replace("__", "/"), value)
    (made,) = plan(read(kind, document), config)
    assert isinstance(made, JobSpec)
    return made


def manifest(job: JobSpec, config: Config) -> Any:
    return job_manifest(job, config, nonce="0a1b")


def values(job: JobSpec) -> dict[str, str]:
    return {name: each.reveal() if isinstance(each, Secret) else f"signed-{name}" for name, each in job.secrets.items()}


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Kubernetes' expansion rule, from the API reference of `args`, `command` and `env`.

    "Variable references $(VAR_NAME) are expanded using the container's environment. If a variable cannot be resolved,
    the reference in the input string will be unchanged. Double $$ are reduced to a single $, which allows for escaping
    the $(VAR_NAME) syntax: i.e. "$$(VAR_NAME)" will produce the string literal "$(VAR_NAME)"."
    """

    def one(match: re.Match[str]) -> str:
        return "$" if match["escaped"] else variables.get(match["name"], match[0])

    return re.sub(r"(?P<escaped>\$\$)|\$\((?P<name>[^)]*)\)", one, text)


def started(container: Mapping[str, Any], secrets: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment that the kubelet starts this container with."""
    variables: dict[str, str] = {}
    for each in container["env"]:
        reference = each.get("valueFrom")
        raw = secrets[reference["secretKeyRef"]["key"]] if reference else expand(each["value"], variables)
        variables[each["name"]] = raw
    return [expand(part, variables) for part in (*container["command"], *container["args"])], variables


def specified(container: Container, secrets: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment that the job specifies."""

    def plain(text: Any) -> str:
        return secrets[text.name] if isinstance(text, SecretRef) else text

    return [*container.command, *map(plain, container.args)], {name: plain(value) for name, value in container.env}


class TestExpansionModel:
    """`expand` in the edge cases that Kubernetes' code defines (third_party/forked/golang/expansion)."""

    @pytest.mark.parametrize(
        ("text", "result"),
        [
            ("$(ONE)", "1"),
            ("<$(TWO)>$(ONE)", "<2>1"),
            ("$$(ONE) $(TWO)", "$(ONE) 2"),
            ("$$$(ONE)", "$1"),
            ("$$$$(ONE)", "$$(ONE)"),
            ("$(NONE)", "$(NONE)"),
            ("$(NO$$NE)", "$(NO$$NE)"),
            ("$(NO$(ONE))", "$(NO$(ONE))"),
            ("$ONE ${ONE} $! $", "$ONE ${ONE} $! $"),
            ("$$ONE", "$ONE"),
            ("$(ONE", "$(ONE"),
        ],
    )
    def test_expansion(self, text: str, result: str) -> None:
        assert expand(text, {"ONE": "1", "TWO": "2"}) == result


class TestValuesArriveUnchanged:
    @given(st.text() | st.text("$(){}AB"), st.dictionaries(st.text("AB"), st.text()))
    @example("$(A)", {"A": "1"})
    @example("$$(A)", {"A": "1"})
    @example("$$$(A)", {"A": "1"})
    @example("$$", {})
    @example("$", {})
    def test_an_escaped_text_survives_expansion(self, text: str, variables: dict[str, str]) -> None:
        assert expand(literal(text), variables) == text

    @pytest.mark.parametrize("kind", RUNS)
    def test_every_container_is_started_with_the_specified_command(self, kind: str, cluster: Config) -> None:
        job = jobs(kind, cluster)
        pod = manifest(job, cluster)["spec"]["template"]["spec"]
        for container, made in zip(job.containers, pod.get("initContainers", []) + pod["containers"], strict=True):
            (command, variables) = started(made, values(job))
            (specified_command, specified_variables) = specified(container, values(job))
            assert command == specified_command
            assert specified_variables.items() <= variables.items()
            # The only other variables are the secrets that its arguments refer to.
            assert set(variables) == set(specified_variables) | set(container.secret_names())

    @given(
        branch=st.text("$(){}RESULT_HTTP_TOKEN", min_size=1, max_size=40),
        message=st.text("$(){}\n\"'\\ RESULT_HTTP_TOKEN", max_size=60),
    )
    def test_hostile_values_are_not_expanded(self, branch: str, message: str, cluster: Config) -> None:
        job = jobs("transformer_run", cluster, __vcs_meta__base_branch=branch, __patch_commit__commit__message=message)
        pod = manifest(job, cluster)["spec"]["template"]["spec"]
        for container, made in zip(job.containers, pod["initContainers"] + pod["containers"], strict=True):
            assert started(made, values(job))[0] == specified(container, values(job))[0]

    def test_a_secret_with_a_dollar_is_not_expanded_again(self, cluster: Config) -> None:
        url = "https://user:$(SENTRY_DSN)$$@git.example/x"
        job = jobs("analysis_run", cluster, __vcs_meta__remote_url=url)
        made = manifest(job, cluster)["spec"]["template"]["spec"]["initContainers"][0]
        assert url in started(made, values(job))[0]


class TestSecrets:
    @pytest.mark.parametrize("kind", RUNS)
    def test_no_secret_value_is_in_the_job(self, kind: str, cluster: Config) -> None:
        job = jobs(kind, cluster)
        written = json.dumps(manifest(job, cluster))
        for value in values(job).values():
            assert value not in written
            assert json.dumps(value)[1:-1] not in written

    def test_the_secret_has_the_values_and_is_deleted_with_its_job(self, cluster: Config) -> None:
        job = jobs("analysis_run", cluster)
        made = manifest(job, cluster)
        name = made["metadata"]["annotations"][SECRET]
        assert secret_manifest(job, cluster, values(job), name=name, owner_uid="uid-1") == {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": "analysis-s7-r-1-3-0a1b",
                "namespace": "jobs",
                "labels": {"application": "analysis-s7-r-1-3", "manager": "runner"},
                "ownerReferences": [
                    {
                        "apiVersion": "batch/v1",
                        "kind": "Job",
                        "name": "analysis-s7-r-1-3",
                        "uid": "uid-1",
                        "controller": True,
                        "blockOwnerDeletion": False,
                    }
                ],
            },
            "immutable": True,
            "type": "Opaque",
            "stringData": values(job),
        }

    def test_every_reference_names_that_secret(self, cluster: Config) -> None:
        job = jobs("analysis_run", cluster)
        pod = manifest(job, cluster)["spec"]["template"]["spec"]
        referred = {
            (each["valueFrom"]["secretKeyRef"]["name"], each["valueFrom"]["secretKeyRef"]["key"])
            for container in pod["initContainers"] + pod["containers"]
            for each in container["env"]
            if "valueFrom" in each
        }
        assert referred == {("analysis-s7-r-1-3-0a1b", name) for name in job.secrets}


class TestJob:
    def test_name_labels_and_annotations(self, cluster: Config) -> None:
        job = jobs("analysis_run", cluster)
        assert manifest(job, cluster)["metadata"] == {
            "name": "analysis-s7-r-1-3",
            "namespace": "jobs",
            "labels": {"application": "analysis-s7-r-1-3", "manager": "runner"},
            "annotations": {
                FINGERPRINT: job.fingerprint,
                POOL: "default",
                REPORT: msgspec.json.encode(job.report).decode(),
                SECRET: "analysis-s7-r-1-3-0a1b",
                CONTAINERS: "coat marvin",
            },
        }

    def test_the_report_can_be_read_back_from_the_cluster(self, cluster: Config) -> None:
        job = jobs("autofix_run", cluster)
        kept = manifest(job, cluster)["metadata"]["annotations"][REPORT]
        assert msgspec.json.decode(kept, type=Report) == job.report

    def test_it_runs_once_within_its_deadline_and_a_lost_node_does_not_count_as_a_failure(
        self, cluster: Config
    ) -> None:
        spec = manifest(jobs("analysis_run", cluster), cluster)["spec"]
        assert {name: value for name, value in spec.items() if name != "template"} == {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 0,
            "activeDeadlineSeconds": 600 + 300 + 1500,
            "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]},
        }

    def test_it_has_no_time_to_live_until_its_end_is_reported(self, cluster: Config) -> None:
        assert "ttlSecondsAfterFinished" not in json.dumps(manifest(jobs("analysis_run", cluster), cluster))

    @pytest.mark.parametrize("kind", RUNS)
    def test_pods_comply_with_the_restricted_standard(self, kind: str, cluster: Config) -> None:
        pod = manifest(jobs(kind, cluster), cluster)["spec"]["template"]["spec"]
        assert pod["restartPolicy"] == "Never"
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 3000,
            "fsGroup": 2000,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for container in pod.get("initContainers", []) + pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }

    def test_resources_have_the_contracts_units(self, cluster: Config) -> None:
        pod = manifest(jobs("analysis_run", cluster), cluster)["spec"]["template"]["spec"]
        (coat,), (marvin,) = pod["initContainers"], pod["containers"]
        assert coat["resources"] == {
            "requests": {"cpu": "300m", "memory": "500Mi"},
            "limits": {"cpu": "1400m", "memory": "4000Mi"},
        }
        assert marvin["resources"]["requests"] == marvin["resources"]["limits"] == {"cpu": "2400m", "memory": "6501Mi"}

    def test_volumes_are_mounted_in_every_container(self, cluster: Config) -> None:
        pod = manifest(jobs("analysis_run", cluster), cluster)["spec"]["template"]["spec"]
        assert pod["volumes"] == [
            {"name": "codedir", "emptyDir": {}},
            {"name": "artifactsdir", "emptyDir": {}},
            {"name": "ssh", "emptyDir": {}},
            {"name": "marvindir", "emptyDir": {}},
            {"name": "credentialsdir", "secret": {"secretName": "artifact-credentials"}},
        ]
        mounts = [
            {"name": "codedir", "mountPath": "/code"},
            {"name": "artifactsdir", "mountPath": "/artifacts"},
            {"name": "ssh", "mountPath": "/home/runner/.ssh"},
            {"name": "marvindir", "mountPath": "/marvin"},
            {"name": "credentialsdir", "mountPath": "/credentials"},
        ]
        for container in pod["initContainers"] + pod["containers"]:
            assert container["volumeMounts"] == mounts

    def test_without_a_configured_secret_credentials_are_an_empty_directory(self, config: Config) -> None:
        pod = manifest(jobs("analysis_run", config), config)["spec"]["template"]["spec"]
        assert pod["volumes"][-1] == {"name": "credentialsdir", "emptyDir": {}}

    def test_without_a_pool_the_settings_of_the_kubernetes_section_apply(self, cluster: Config) -> None:
        pod = manifest(jobs("analysis_run", cluster), cluster)["spec"]["template"]["spec"]
        assert pod["nodeSelector"] == {"disk": "ssd"}
        assert pod["imagePullSecrets"] == [{"name": "pull"}]
        assert not {"tolerations", "priorityClassName"} & set(pod)

    def test_the_settings_of_a_pool_take_precedence(self, cluster: Config) -> None:
        job = jobs("analysis_run", cluster, ___meta={"resource_pool": "plan-pf"})
        made = manifest(job, cluster)
        pod = made["spec"]["template"]["spec"]
        assert made["metadata"]["namespace"] == "paying"
        assert made["metadata"]["annotations"][POOL] == "plan-pf"
        assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "analyses"
        assert made["spec"]["suspend"] is True
        assert pod["nodeSelector"] == {"pool": "large"}
        assert pod["tolerations"] == [
            {"key": "large", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0},
            {"operator": "Exists", "effect": "NoExecute"},
        ]
        assert pod["priorityClassName"] == "high"

    def test_optional_members_without_a_value_are_omitted(self, config: Config) -> None:
        pod = manifest(jobs("patcher_run", config), config)["spec"]["template"]["spec"]
        assert not {"nodeSelector", "tolerations", "priorityClassName", "imagePullSecrets", "initContainers"} & set(pod)


def test_a_tombstone_has_the_name_creates_no_pod_and_ends_by_itself(cluster: Config) -> None:
    (cancellation,) = plan(read("cancel_check_run", whole("cancel_check_run")), cluster)
    assert isinstance(cancellation, Cancellation)
    made = tombstone_manifest(cancellation, cluster, "plan-pf")
    assert made["metadata"] == {
        "name": "analysis-s7-r-1-3",
        "namespace": "paying",
        "labels": {"application": "analysis-s7-r-1-3", "manager": "runner"},
        "annotations": {CANCELLED: msgspec.json.encode(cancellation.report).decode(), POOL: "plan-pf"},
    }
    template = made["spec"].pop("template")
    assert made["spec"] == {"parallelism": 0, "activeDeadlineSeconds": 0}
    assert template["spec"]["restartPolicy"] == "Never"
    assert template["spec"]["securityContext"]["runAsNonRoot"] is True
    assert template["spec"]["containers"] == [
        {
            "name": "cancelled",
            "image": "cancelled",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ]
