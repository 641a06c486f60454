"""The local driver's pure decisions: the entry for an image, a program's arguments and variables, what is due."""

from __future__ import annotations

import msgspec
import pytest

from runner.config.drivers import LocalImage
from runner.drivers.driver import SET_ASIDE_SECONDS, Retention
from runner.drivers.local import programs, record, retention
from runner.drivers.local.record import EndFile, JobFile, ReportedFile, ResentFile, StoredJob, VerdictFile
from runner.errors import Rejected
from runner.jobs import JobSpec, Secret, Volume
from runner.observation import Observation, Outcome
from tests.conformance import jobs
from tests.conformance.jobs import secret_ref

ROOT = "/jobs/one/root"
NAMED = {name: LocalImage(command=(name,)) for name in ("coat", "marvin-py*", "marvin-*", "[ab]umblebee")}


@pytest.mark.parametrize(
    ("image", "entry"),
    [
        ("coat", "coat"),
        ("coat:latest", "coat"),
        ("registry/coat", "coat"),
        ("registry.example:5000/coat", "coat"),
        ("registry.example:5000/team/coat:1.2", "coat"),
        ("localhost:5000/coat@sha256:0123", "coat"),
        ("localhost:5000/a/coat:1@sha256:0123", "coat"),
        ("r/marvin-python:1", "marvin-py*"),
        ("r/marvin-go:1", "marvin-*"),
        ("bumblebee:v1", "[ab]umblebee"),
    ],
)
def test_an_image_is_matched_by_the_last_part_of_its_name(image: str, entry: str) -> None:
    assert programs.local_image(image, NAMED).command == (entry,)


@pytest.mark.parametrize("image", ["coat/other", "r/COAT", "xcoat", "marvin", "r:5000/", ""])
def test_an_image_that_no_glob_matches_is_rejected_with_the_key_to_set(image: str) -> None:
    with pytest.raises(Rejected, match=r"local\.images") as caught:
        programs.local_image(image, NAMED)
    assert image in caught.value.detail


def test_a_secret_argument_is_a_reference_or_the_value() -> None:
    job = _job(args=["--url", secret_ref("URL"), "$(URL)"], secrets={"URL": Secret("hidden")})
    reference, expanded = (_main(job, LocalImage(secret_arguments=each)) for each in ("reference", "expand"))
    assert reference.argv[-3:] == ("--url", "$(URL)", "$(URL)")
    assert reference.env["URL"] == secret_ref("URL")
    assert expanded.argv[-3:] == ("--url", secret_ref("URL"), "$(URL)")
    assert "URL" not in expanded.env
    assert "hidden" not in repr([reference, expanded])


def test_the_image_s_command_replaces_the_container_s_and_is_not_searched_in_the_code() -> None:
    assert _main(_job(), LocalImage()).argv[0] == "/bin/sh"
    assert _main(_job(args=["a"]), LocalImage(command=("python3", "x.py"))).argv == ("python3", "x.py", "a")
    assert str(_main(_job(), LocalImage(command=("./marvin",))).argv[0]).startswith("/")


@pytest.mark.parametrize(
    ("value", "given"),
    [
        ("/code", f"{ROOT}/code"),
        ("/code/a b", f"{ROOT}/code/a b"),
        ("/home/runner/.ssh/id", f"{ROOT}/home/runner/.ssh/id"),
        ("/toolbox", f"{ROOT}/toolbox"),
        ("/tmp/x", f"{ROOT}/tmp/x"),
        ("/codes", "/codes"),
        ("/home/runner", "/home/runner"),
        ("a /code", "a /code"),
        ("/", "/"),
        ("", ""),
    ],
)
def test_a_variable_with_a_path_of_the_job_gets_the_path_on_the_host(value: str, given: str) -> None:
    volumes = (Volume(name="codedir", path="/code"), Volume(name="ssh", path="/home/runner/.ssh"))
    job = msgspec.structs.replace(_job(env={"VALUE": value}), volumes=volumes)
    assert _main(job, LocalImage()).env["VALUE"] == given


def test_the_container_s_variables_override_the_driver_s() -> None:
    program = _main(_job(env={"PATH": "/own", "HOME": "/code"}), LocalImage())
    assert (program.env["PATH"], program.env["HOME"], program.env["LANG"]) == ("/own", f"{ROOT}/code", "C")


def test_every_volume_is_a_directory_even_that_of_a_secret() -> None:
    volumes = (Volume(name="codedir", path="/code"), Volume(name="c", path="/credentials", existing_secret="s"))
    made = programs.directories(msgspec.structs.replace(_job(), volumes=volumes), ROOT)
    assert sorted(made) == [f"{ROOT}{path}" for path in ("/code", "/credentials", "/home/runner", "/tmp", "/toolbox")]


@pytest.mark.parametrize(
    ("end", "resent", "reported", "now", "due"),
    [
        (None, None, None, 10**9, False),
        (None, None, 0.0, 10**9, False),  # reported, and still running
        (100.0, None, 150.0, 159, False),
        (100.0, None, 150.0, 160, True),
        (100.0, None, None, 1099, False),
        (100.0, None, None, 1100, True),
        (100.0, 500.0, 150.0, 1499, False),  # its result is asked for again
        (100.0, 500.0, 150.0, 1500, True),
    ],
)
def test_a_job_is_due_after_its_report_or_long_after_its_end(
    end: float | None, resent: float | None, reported: float | None, now: float, due: bool
) -> None:
    stored = _stored(
        end=EndFile(phase="succeeded", ended=end) if end is not None else None,
        reported=ReportedFile(reported) if reported is not None else None,
        resent=ResentFile(1, resent) if resent is not None else ResentFile(),
    )
    assert retention.is_due(stored, now, Retention(reported=10, orphaned=1000)) == due


def test_a_cancellation_that_was_decided_first_overrides_a_success() -> None:
    report = jobs.report("job")
    seen = _succeeded(VerdictFile(report))
    assert (seen.phase, seen.cancelled, seen.cancellation, seen.main_exit) == ("failed", True, report, 0)
    assert seen.ended_as is None


def test_an_outcome_that_was_decided_first_overrides_a_success() -> None:
    outcome = Outcome(reason="unschedulable", code=5102, hmessage="No machine had room for the job.")
    seen = _succeeded(VerdictFile(None, outcome))
    assert (seen.phase, seen.cancelled, seen.ended_as, seen.main_exit) == ("failed", False, outcome, 0)


def _succeeded(verdict: VerdictFile) -> Observation:
    end = EndFile(phase="succeeded", ended=2.0, main_exit=0)
    return record.observation(_stored(end=end, verdict=verdict), "local", "")


def test_a_job_of_release_0_1_has_its_identity_from_the_time_of_its_submit() -> None:
    stored = _stored(end=None)
    assert record.observation(stored, "local", "").identity == "1.000000"
    present = msgspec.structs.replace(stored, job=msgspec.structs.replace(stored.job, nonce="5f"))
    assert record.observation(present, "local", "").identity == "5f"


@pytest.mark.parametrize(
    ("exits", "container", "signal"),
    [
        ({"init_exit": 7}, "coat", 0),
        ({"init_exit": 143}, "coat", 15),
        ({"init_exit": 0, "main_exit": 139}, "marvin", 11),
        ({"main_exit": 128}, "marvin", 0),
        ({"main_exit": 255}, "marvin", 0),
        ({}, "", 0),
    ],
)
def test_an_end_of_release_0_1_names_its_container_and_signal(
    exits: dict[str, int], container: str, signal: int
) -> None:
    containers = programs.programs(_job(init="true"), ROOT, {"*": LocalImage()}, {})
    stored = _stored(end=EndFile(phase="failed", ended=2.0, **exits))
    stored = msgspec.structs.replace(stored, job=msgspec.structs.replace(stored.job, containers=containers))
    seen = record.observation(stored, "local", "")
    assert (seen.container, seen.signal) == (container, signal)


def test_a_result_that_was_set_aside_is_kept_for_seven_days() -> None:
    stored = _stored(end=EndFile(phase="succeeded", ended=1.0), reported=ReportedFile(2.0, None, True))
    expired = Retention(reported=10, orphaned=10)
    assert not retention.is_due(stored, 2 + SET_ASIDE_SECONDS - 1, expired)
    assert retention.is_due(stored, 2 + SET_ASIDE_SECONDS, expired)


def test_the_repr_of_a_stored_job_has_name_and_phase() -> None:
    stored = _stored(end=EndFile(phase="succeeded", ended=2.0), reported=ReportedFile(3.0))
    assert repr(stored) == "StoredJob('job', succeeded, reported)"


def _stored(
    end: EndFile | None,
    verdict: VerdictFile | None = None,
    reported: ReportedFile | None = None,
    resent: ResentFile = ResentFile(),  # noqa: B008  (frozen)
) -> StoredJob:
    job = JobFile(name="job", created=1.0, boot="", monotonic=1.0, queue_seconds=1)
    return StoredJob(job=job, begun=True, end=end, verdict=verdict, reported=reported, resent=resent)


def _job(**fields: object) -> JobSpec:
    return jobs.job("shell", "true", **fields)  # type: ignore[arg-type]


def _main(job: JobSpec, image: LocalImage) -> programs.Program:
    (program,) = programs.programs(job, ROOT, {"*": image}, {"PATH": "/bin", "LANG": "C"})
    return program
