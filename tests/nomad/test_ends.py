"""How jobs run and end on a real Nomad, and the outcomes that the driver reports."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import pytest

from runner.drivers.nomad.driver import NomadDriver
from runner.jobs import Deadlines, JobSpec, Resources, Secret, SecretRef
from tests import cluster
from tests.cluster import Directory, NomadAccess
from tests.conformance.jobs import POOL, Program, job
from tests.harness.deadlines import within
from tests.nomad.access import Nomad
from tests.nomad.seen import find, outcome, printed, until

NOWHERE = {POOL: {"datacenters": ["nowhere"]}}


def test_a_job_without_a_suitable_node_waits_and_is_unschedulable_after_its_queue_deadline(
    nomad: Nomad, make_driver: Callable[..., NomadDriver]
) -> None:
    constraints = [{"attribute": "${attr.kernel.name}", "value": "plan9"}]
    driver = make_driver(pools={POOL: {"constraints": constraints}})
    wanted = job("shell", deadlines=Deadlines(queue=2, clone=60, run=60))
    driver.submit(wanted, within(10))
    seen = find(driver, wanted.name)
    assert seen is not None
    assert seen.phase == "waiting"
    ended = outcome(driver, wanted.name)
    assert ended.reason == "unschedulable"
    assert "plan9" in ended.err
    assert nomad.get(f"job/{wanted.name}")["Stop"]
    assert driver.submit(wanted, within(10)) == "exists"


def test_a_job_that_needs_more_memory_than_any_node_has_is_unschedulable_with_that_reason(driver: NomadDriver) -> None:
    wanted = job("shell", deadlines=Deadlines(queue=2, clone=60, run=60))
    big = msgspec.structs.replace(wanted.main, limits=Resources(cpu=1, memory=10_000_000))
    driver.submit(msgspec.structs.replace(wanted, main=big), within(10))
    ended = outcome(driver, wanted.name)
    assert ended.reason == "unschedulable"
    assert "memory exhausted" in ended.err


def test_any_driver_ends_an_overdue_job(driver: NomadDriver, make_driver: Callable[..., NomadDriver]) -> None:
    wanted = job("shell", Program(endless=True), deadlines=Deadlines(queue=1, clone=1, run=1))
    driver.submit(wanted, within(10))
    another = make_driver()
    assert outcome(another, wanted.name).reason == "timed_out"
    assert outcome(driver, wanted.name).reason == "timed_out"
    assert driver.submit(wanted, within(10)) == "exists"


def test_a_job_within_its_deadline_is_not_ended(driver: NomadDriver) -> None:
    wanted = job("shell", "sleep 3; echo done", deadlines=Deadlines(queue=1, clone=1, run=30))
    driver.submit(wanted, within(10))
    assert outcome(driver, wanted.name).reason == "succeeded"


def test_a_reference_to_a_missing_secret_is_misconfigured(driver: NomadDriver) -> None:
    wanted = job("shell", secrets={"A": Secret("a")}, env={"B": SecretRef(name="MISSING")})
    driver.submit(wanted, within(10))
    ended = outcome(driver, wanted.name)
    assert ended.reason == "misconfigured"
    assert "MISSING" in ended.err


def test_between_its_two_tasks_a_job_is_not_ended_for_its_queue_deadline(nomad: Nomad, driver: NomadDriver) -> None:
    """Nomad calls its allocation pending then. The second task waits for its Variable, which somebody has removed."""
    wanted = job("shell", init="sleep 3", secrets={"A": Secret("a")}, env={"B": SecretRef(name="A")})
    wanted = msgspec.structs.replace(wanted, deadlines=Deadlines(queue=2, clone=60, run=60))
    driver.submit(wanted, within(10))
    until(driver, wanted.name, lambda seen: seen.phase == "running")
    nomad.delete(f"var/nomad/jobs/{wanted.name}")
    seen = until(driver, wanted.name, lambda seen: seen.init_exit == 0 and seen.configuration_error)
    assert seen.phase == "waiting"
    until(driver, wanted.name, lambda seen: time.time() > seen.created + 6)
    (allocation,) = nomad.get(f"job/{wanted.name}/allocations")
    assert allocation["ClientStatus"] == "pending"
    assert not nomad.get(f"job/{wanted.name}")["Stop"]


@pytest.fixture(scope="session")
def image(access: NomadAccess) -> str:
    made = cluster.image("shell", directories={"/toolbox": Directory(owner=(1000, 3000))})
    cluster.load_into_nomad(made)
    return made.reference


@pytest.fixture
def docker(make_driver: Callable[..., NomadDriver]) -> NomadDriver:
    return make_driver(taskDriver="docker")


HOSTILE = [
    "$(RESULT_HTTP_TOKEN)",
    "${NOMAD_SECRETS_DIR}",
    "${RESULT_HTTP_TOKEN}",
    "${NOMAD_META_orchestrator_dollar}",
    '{{ env "X" }}',
    "$${x}",
    "$$${NOMAD_JOB_ID}",
    "%{if true}x%{endif}",
    "%%{x}",
    "$%${x}",
    "${",
    "${attr.kernel.name}",
    '${env["RESULT_HTTP_TOKEN"]}',
    "cafe\u0301 and caf\u00e9",
    "\u212b",
    "a\nb\t\"'\\",
    "",
]
# Nomad's docker driver reads a container's log asynchronously. It can miss the output of a container that ends at once,
# and a last line without a line break.
LINGER = "; echo; sleep 1"
ECHO = 'for each in "$@"; do printf "[%s]" "$each"; done; printf "[%s]" "$HOSTILE_0" "$HOSTILE_13"' + LINGER


@pytest.mark.parametrize("driver_name", ["docker", "raw_exec"])
def test_hostile_strings_arrive_unchanged(
    make_driver: Callable[..., NomadDriver], image: str, driver_name: str
) -> None:
    env = {f"HOSTILE_{number}": text for number, text in enumerate(HOSTILE)}
    secrets = {"RESULT_HTTP_TOKEN": Secret("hunter2")}
    wanted = job(image, ECHO, args=HOSTILE, env={**env, "T": SecretRef(name="RESULT_HTTP_TOKEN")}, secrets=secrets)
    driver = make_driver(taskDriver=driver_name)
    driver.submit(wanted, within(10))
    assert outcome(driver, wanted.name).reason == "succeeded"
    assert printed(driver, wanted.name) == "".join(f"[{each}]" for each in [*HOSTILE, HOSTILE[0], HOSTILE[13]]) + "\n"


def test_a_large_argument_arrives_completely(docker: NomadDriver, image: str) -> None:
    text = "${x}é" * 20_000  # bytes: 120,000
    wanted = job(image, 'printf "%s" "$1" | wc -c' + LINGER, args=[text])
    docker.submit(wanted, within(10))
    assert outcome(docker, wanted.name).reason == "succeeded"
    assert printed(docker, wanted.name).strip() == str(len(text.encode()))


WHO = "id -u; id -g; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status" + LINGER


def test_containers_have_our_user_and_no_privileges(docker: NomadDriver, image: str) -> None:
    wanted = job(image, WHO, init=WHO)
    docker.submit(wanted, within(10))
    assert outcome(docker, wanted.name).reason == "succeeded"
    for container in ("coat", "marvin"):
        user, group, *privileges = printed(docker, wanted.name, container).splitlines()
        assert (user, group) == ("1000", "3000")
        assert [each.split()[1].strip("0") for each in privileges if each] == ["", "", "1"]


DIRECTORIES = ("codedir /code", "artifactsdir /artifacts", "ssh /home/runner/.ssh", "marvindir /marvin")


def _contract(wanted: JobSpec) -> JobSpec:
    from runner.jobs import Volume

    volumes = [Volume(name=each.split()[0], path=each.split()[1]) for each in DIRECTORIES]
    return msgspec.structs.replace(wanted, volumes=(*volumes, Volume(name="credentialsdir", path="/credentials")))


def test_all_containers_share_the_contract_s_directories_and_can_write_to_them(docker: NomadDriver, image: str) -> None:
    places = " ".join(each.split()[1] for each in DIRECTORIES)
    make = f'for each in {places}; do echo "$each" > "$each/made" || exit 1; done'
    take = f'for each in {places}; do cat "$each/made" && rm "$each/made" && mkdir "$each/mine" || exit 1; done'
    wanted = job(image, f"{take}; touch /toolbox/marvin{LINGER}", init=make)
    docker.submit(_contract(wanted), within(10))
    assert outcome(docker, wanted.name).reason == "succeeded"
    assert printed(docker, wanted.name).split() == places.split()


def test_credentials_come_from_the_variable_that_the_configuration_names(
    nomad: Nomad, make_driver: Callable[..., NomadDriver], image: str
) -> None:
    nomad.put("var/nomad/jobs", {"Items": {"credentials": "several\nlines\n"}})
    driver = make_driver(taskDriver="docker", credentialsVariable="nomad/jobs")
    wanted = _contract(job(image, f"cat /credentials/credentials{LINGER}"))
    driver.submit(wanted, within(10))
    assert outcome(driver, wanted.name).reason == "succeeded"
    assert printed(driver, wanted.name) == "several\nlines\n\n"


def test_a_missing_image_is_image_unavailable_with_its_name(docker: NomadDriver) -> None:
    wanted = job("127.0.0.1:1/no/such:image")
    docker.submit(wanted, within(10))
    ended = outcome(docker, wanted.name)
    assert ended.reason == "image_unavailable"
    assert "no/such:image" in ended.err


def test_a_container_over_its_memory_limit_is_out_of_memory(docker: NomadDriver, image: str) -> None:
    wanted = job(image, "exec tail /dev/zero")
    docker.submit(wanted, within(10))
    assert outcome(docker, wanted.name).reason == "out_of_memory"


def test_a_container_that_ignores_sigterm_is_killed(docker: NomadDriver, image: str) -> None:
    from tests.conformance.jobs import cancellation

    wanted = job(image, Program(endless=True))  # its shell is process 1, which has no default for SIGTERM
    docker.submit(wanted, within(10))
    until(docker, wanted.name, lambda seen: seen.phase == "running")
    docker.cancel(cancellation(wanted.name), within(10), tombstone=True)
    seen = find(docker, wanted.name)
    assert seen is not None
    assert seen.phase == "running"  # cancelled, and not yet ended
    assert outcome(docker, wanted.name).reason == "cancelled"
