"""runner.drivers.nomad.specification: a job as a Nomad job. tests/nomad submits such jobs to a real Nomad."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.commands import plan
from runner.config.types import Config
from runner.drivers.nomad.rendering import render
from runner.drivers.nomad.specification import escape_argument, escape_env, image_on_node, specification
from runner.jobs import JobSpec, Resources, Secret, SecretRef
from runner.payloads import RequestPolicy, decode
from runner.payloads.analysis_run import AnalysisRun
from tests.conformance.jobs import POOL, job

MakeConfig = Callable[..., Config]


@pytest.fixture
def analysis(config: Config, sample: Callable[[str], dict[str, Any]]) -> JobSpec:
    request = decode(json.dumps(sample("analysis")).encode(), AnalysisRun, RequestPolicy(runner_id="", public_key=""))
    (wanted,) = plan(request, config)
    assert isinstance(wanted, JobSpec)
    return wanted


def tasks(wanted: JobSpec, config: Config) -> list[dict[str, Any]]:
    (group,) = specification(wanted, config)["TaskGroups"]
    found: list[dict[str, Any]] = group["Tasks"]
    return found


def test_it_runs_once_without_restart_or_reschedule(analysis: JobSpec, config: Config) -> None:
    made = specification(analysis, config)
    (group,) = made["TaskGroups"]
    assert (made["ID"], made["Type"], group["Count"]) == (analysis.name, "batch", 1)
    assert group["RestartPolicy"] == {"Attempts": 0, "Mode": "fail"}
    assert group["ReschedulePolicy"] == {"Attempts": 0, "Unlimited": False}


def test_the_init_container_is_a_prestart_task(analysis: JobSpec, config: Config) -> None:
    coat, marvin = tasks(analysis, config)
    assert coat["Lifecycle"] == {"Hook": "prestart", "Sidecar": False}
    assert marvin["Lifecycle"] is None


def test_cpu_is_the_request_in_mhz_and_memory_is_the_limit(analysis: JobSpec, make_config: MakeConfig) -> None:
    coat, marvin = tasks(analysis, make_config(nomad={"coreMhz": 3000}))
    assert coat["Resources"] == {"CPU": 900, "MemoryMB": 4000}  # 300 millicores; 4000 MiB
    limits = analysis.main.limits
    assert marvin["Resources"] == {"CPU": limits.cpu * 3, "MemoryMB": limits.memory}


def test_resources_are_at_least_nomads_minimum(config: Config) -> None:
    wanted = job("shell")
    tiny = msgspec.structs.replace(wanted.main, requests=Resources(cpu=0, memory=0), limits=Resources(cpu=0, memory=1))
    assert tasks(msgspec.structs.replace(wanted, main=tiny), config)[0]["Resources"] == {"CPU": 1, "MemoryMB": 10}


def test_containers_have_our_user_and_no_privileges(analysis: JobSpec, config: Config) -> None:
    for task in tasks(analysis, config):
        assert task["User"] == "1000:3000"
        assert task["Config"]["cap_drop"] == ["all"]
        assert task["Config"]["security_opt"] == ["no-new-privileges"]


def test_all_containers_share_the_same_directories(analysis: JobSpec, config: Config) -> None:
    coat, marvin = (task["Config"]["volumes"] for task in tasks(analysis, config))
    assert coat == marvin
    assert [each.split(":")[1] for each in coat] == [volume.path for volume in analysis.volumes]
    assert len({each.split(":")[0] for each in coat}) == len(coat)


def test_it_contains_no_secret(analysis: JobSpec, config: Config) -> None:
    secrets = {name: Secret(f"hunter2-{name}") for name in analysis.secrets}
    made = specification(msgspec.structs.replace(analysis, secrets=secrets), config)
    assert "hunter2" not in json.dumps(made)


def test_a_task_can_be_rendered_only_with_an_open_variable_and_its_own_secrets(
    analysis: JobSpec, config: Config
) -> None:
    for task, container in zip(tasks(analysis, config), analysis.containers, strict=True):
        (template,) = task["Templates"]
        assert f'nomadVar "nomad/jobs/{analysis.name}"' in template["EmbeddedTmpl"]
        assert ".orchestrator_open.Value" in template["EmbeddedTmpl"]
        stubs_by_name = [line.split("=")[0] for line in template["EmbeddedTmpl"].splitlines() if "=" in line]
        assert stubs_by_name == list(container.secret_names())
        assert template["ErrMissingKey"]
        assert template["Envvars"]


def test_no_text_of_a_request_is_part_of_a_template(config: Config) -> None:
    wanted = job('{{ env "A" }}', args=['{{ env "B" }}'], env={"C": '{{ env "C" }}'})
    (task,) = tasks(wanted, config)
    assert "{{ env" not in json.dumps(task["Templates"])


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain $x %y", "plain $x %y"),
        ("${x}", '${"$"}{x}'),
        ("%{x}", '${"%"}{x}'),
        ("$${x}", '${"$"}${"$"}{x}'),
        ("$ {x}", "$ {x}"),
    ],
)
def test_what_hcl_would_interpolate_is_escaped_by_an_interpolation(text: str, escaped: str) -> None:
    assert escape_argument(text) == escaped


def hcl(text: str) -> str:
    """Evaluate an HCL template whose only interpolations are constants (hclsyntax, "Template Literals")."""
    read, at = "", 0
    while at < len(text):
        if text[at : at + 3] in ("$${", "%%{"):
            read, at = f"{read}{text[at]}{{", at + 3
        elif text[at : at + 6] in ('${"$"}', '${"%"}'):
            read, at = read + text[at + 3], at + 6
        else:
            assert text[at : at + 2] not in ("${", "%{"), f"{text!r} interpolates at {at}"
            read, at = read + text[at], at + 1
    return read


@given(st.text(alphabet='${}%"x', max_size=30))
def test_an_escaped_argument_evaluates_to_the_same_text(text: str) -> None:
    assert hcl(escape_argument(text)) == text


@given(st.text(alphabet="${}NOMAD_x.", max_size=30))
def test_an_escaped_variable_evaluates_to_the_same_text(text: str) -> None:
    environment = {"NOMAD_META_orchestrator_dollar": "$", "NOMAD": "replaced", "x": "replaced"}
    replaced = re.sub(
        r"\$\{[a-zA-Z0-9_\-.]+\}", lambda found: environment.get(found[0][2:-1], found[0]), escape_env(text)
    )  # nomad/helper/args/args.go
    assert replaced == text


def test_arguments_that_hcl_would_normalize_are_passed_through_the_environment(config: Config) -> None:
    """cty.StringVal normalizes every string to NFC, and the name of a branch may be in NFD."""
    decomposed = "cafe\u0301"
    (task,) = tasks(job("shell", "true", args=["plain", decomposed]), config)
    assert decomposed not in json.dumps(task["Config"]["entrypoint"], ensure_ascii=False)
    assert task["Config"]["entrypoint"][2].endswith('"$ORCHESTRATOR_WORD_5"; exec "$@"')
    assert task["Env"] == {"ORCHESTRATOR_WORD_5": decomposed}


def test_a_pool_sets_placement_and_priority(make_config: MakeConfig) -> None:
    pool = {
        "namespace": "paid",
        "nodePool": "fast",
        "datacenters": ["dc2"],
        "priority": 80,
        "nodeSelector": {"class": "big"},
        "constraints": [{"attribute": "${attr.cpu.arch}", "value": "amd64"}],
    }
    made = specification(job("shell"), make_config(driver="nomad", pools={POOL: pool}, nomad={"region": "eu"}))
    assert (made["Namespace"], made["NodePool"], made["Datacenters"], made["Priority"], made["Region"]) == (
        "paid", "fast", ["dc2"], 80, "eu",
    )  # fmt: skip
    assert made["Constraints"] == [
        {"LTarget": "${attr.cpu.arch}", "Operand": "=", "RTarget": "amd64"},
        {"LTarget": "${meta.class}", "Operand": "=", "RTarget": "big"},
    ]


@pytest.mark.parametrize(
    ("how", "words"),
    [("reference", ["/opt/coat", "$(REMOTE_URL)"]), ("expand", ["/opt/coat", "${REMOTE_URL}"])],
)
def test_without_images_the_configured_command_replaces_the_image(
    make_config: MakeConfig, how: str, words: list[str]
) -> None:
    images = {"coat*": {"command": ["/opt/coat"], "secretArguments": how}}
    config = make_config(nomad={"taskDriver": "raw_exec", "images": images})
    wanted = job("registry:5000/coat:1", args=[SecretRef(name="REMOTE_URL")], secrets={"REMOTE_URL": Secret("u")})
    (task,) = tasks(wanted, config)
    assert task["Config"]["args"][-2:] == words
    assert task["Env"]["ORCHESTRATOR_ROOT"] == "${NOMAD_ALLOC_DIR}/data"
    assert image_on_node(config, "x/marvin:1").command == ()


def test_without_images_paths_of_the_contract_are_below_the_root(make_config: MakeConfig, analysis: JobSpec) -> None:
    _, marvin = tasks(analysis, make_config(nomad={"taskDriver": "exec", "user": "runner"}))
    assert marvin["User"] == "runner"
    assert marvin["Env"]["TOOLBOX_PATH"] == "${NOMAD_ALLOC_DIR}/data/toolbox"
    assert marvin["Env"]["TIME_LIMIT"] == "1500"


def test_render_masks_secrets_and_shows_the_job_that_would_be_registered(analysis: JobSpec, config: Config) -> None:
    shown = json.loads(render(analysis, config))
    assert shown["Job"] == json.loads(json.dumps(specification(analysis, config)))
    assert {shown["Variable"]["Items"][name] for name in analysis.secrets} == {"***"}
