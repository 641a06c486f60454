"""What a job's programs see, and how their ends are classified, on drivers that run programs."""

from __future__ import annotations

import time

import pytest

from runner.errors import Rejected
from runner.jobs import Deadlines, JobSpec, Secret
from tests.conformance.clusters import Cluster
from tests.conformance.jobs import Program, secret_ref
from tests.harness.rounds import observed

pytestmark = pytest.mark.needs("runs", "ends")

HOSTILE = [
    "$(PASSWORD)",
    "$$(PASSWORD)",
    "${PASSWORD}",
    "$PASSWORD",
    "${attr.kernel.name}",
    "$${PASSWORD}",
    '{{ env "PASSWORD" }}',
    '{{ key "a" }}{{end}}',
    "%(PASSWORD)s",
    "'; exit 9; '",
    '"; exit 9; "',
    "`exit 9`",
    "a\nb\n",
    "\t a  b ",
    "",
    "--flag=\\n",
    "\\",
    "ünïcödé \U0001f600",
    "~/*",
    "#!",
]
ECHO_ARGUMENTS = 'for each in "$@"; do printf "[%s]" "$each"; done'


def test_hostile_arguments_arrive_unchanged(cluster: Cluster) -> None:
    job = cluster.job(ECHO_ARGUMENTS, args=HOSTILE, secrets={"PASSWORD": Secret("hunter2-hunter2")})
    cluster.submit(job)
    assert cluster.end(job).reason == "succeeded"
    assert cluster.driver.logs(job.name) == "".join(f"[{each}]" for each in HOSTILE)


def test_hostile_variables_arrive_unchanged(cluster: Cluster) -> None:
    named = {f"V{number}": value for number, value in enumerate(HOSTILE)}
    job = cluster.job("; ".join(f'printf "[%s]" "${name}"' for name in named), env=named)
    cluster.submit(job)
    assert cluster.end(job).reason == "succeeded"
    assert cluster.driver.logs(job.name) == "".join(f"[{each}]" for each in HOSTILE)


# The log contains no secrets, so the program reports by its exit code whether it got the right value.
def test_secrets_reach_the_environment_and_are_not_listed(cluster: Cluster) -> None:
    secret = "hunter2'$(X)\"\nsecond line"
    job = cluster.job(
        '[ "$PASSWORD" = "$(printf "hunter2\\047\\044(X)\\042\\nsecond line")" ] || exit 3; printf "%s" "$PASSWORD"',
        env={"PASSWORD": secret_ref("PASSWORD")},
        secrets={"PASSWORD": Secret(secret)},
    )
    cluster.submit(job)
    assert cluster.end(job).reason == "succeeded"
    assert "hunter2" not in repr(cluster.seen(job.name))


def test_a_secret_argument_reaches_the_program(cluster: Cluster) -> None:
    """As the value; or as `$(NAME)` with the value in the environment, which an installation's images expand."""
    job = cluster.job(
        "case $1 in hunter2-x) ;; '$(PASSWORD)') [ \"$PASSWORD\" = hunter2-x ] ;; *) exit 3 ;; esac",
        args=[secret_ref("PASSWORD")],
        secrets={"PASSWORD": Secret("hunter2-x")},
    )
    cluster.submit(job)
    assert cluster.end(job).reason == "succeeded"


def test_the_init_container_runs_first_and_shares_the_volumes(cluster: Cluster) -> None:
    job = cluster.job('[ "$(cat "${CODE_PATH:-/code}/made")" = here ]', init='echo here > "${CODE_PATH:-/code}/made"')
    cluster.submit(job)
    assert cluster.end(job).reason == "succeeded"


def test_a_failed_init_container_is_clone_failed_and_the_main_container_never_runs(cluster: Cluster) -> None:
    job = cluster.job(Program(prints="it ran"), init=Program(exit_code=4, prints="no such branch\n"))
    cluster.submit(job)
    outcome = cluster.end(job)
    assert outcome.reason == "clone_failed"
    assert "exit code 4" in outcome.err
    assert cluster.driver.logs(job.name) == "no such branch\n"
    seen = cluster.seen(job.name)
    assert seen is not None
    assert seen.main_exit is None


def test_logs_gives_the_log_of_either_container(cluster: Cluster) -> None:
    job = cluster.job(Program(prints="analysed\n"), init=Program(prints="cloned\n"))
    cluster.submit(job)
    cluster.end(job)
    assert cluster.driver.logs(job.name, "coat") == "cloned\n"
    assert cluster.driver.logs(job.name) == cluster.driver.logs(job.name, "marvin") == "analysed\n"


def test_a_job_past_its_deadline_is_ended_as_timed_out(cluster: Cluster) -> None:
    job = cluster.job(Program(endless=True), deadlines=Deadlines(queue=1, clone=1, run=1))
    cluster.submit(job)
    assert cluster.end(job).reason == "timed_out"


def test_a_cancelled_job_that_ignores_sigterm_is_killed(cluster: Cluster) -> None:
    job = cluster.job("trap '' TERM INT; while :; do sleep 1; done")
    cluster.submit(job)
    cluster.running(job)
    cluster.cancel(job.name)
    assert cluster.end(job).reason == "cancelled"


def log_of(cluster: Cluster, job: JobSpec) -> str | None:
    """The job's log, or None if it was removed: Kubernetes removes the pods of a stopped job, and so their logs."""
    try:
        return cluster.driver.logs(job.name)
    except Rejected as error:
        if "its pod is gone" not in error.detail:
            raise
        return None


def last_log_of(cluster: Cluster, job: JobSpec) -> str | None:
    """The log once it grows no more. A cancel is confirmed while a program may still use its grace period."""
    until = time.monotonic() + 40
    log = log_of(cluster, job)
    while True:
        time.sleep(0.5)  # the program prints each 0.1 s
        before, log = log, log_of(cluster, job)
        if log in (before, None):
            return log
        assert time.monotonic() < until, "the program runs on"


def test_a_cancelled_job_s_programs_have_ended_and_never_start_again(cluster: Cluster) -> None:
    job = cluster.job("while :; do echo again; sleep 0.1; done")
    cluster.submit(job)
    cluster.running(job)
    cluster.cancel(job.name)
    cluster.end(job)
    cluster.submit(job)
    before = last_log_of(cluster, job)
    observed(cluster.another())
    assert cluster.end(job).reason == "cancelled"
    assert log_of(cluster, job) in (before, None)
