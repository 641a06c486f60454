"""Secrets are only in the Variable and in the program's environment, not in anything else that Nomad shows."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from runner.drivers.nomad.driver import NomadDriver
from runner.errors import Rejected
from runner.jobs import Secret, SecretRef
from runner.observation import Outcome
from tests.conformance.jobs import Program, cancellation, job
from tests.harness.deadlines import within
from tests.nomad.access import Nomad
from tests.nomad.seen import last, outcome, printed, until

SECRET_VALUE = "hunter2-hunter2"
KEY = f"""-----BEGIN KEY-----
{SECRET_VALUE}
<&>\u2028 ünïcödé $$${{HOME}} $(X) {{{{ x }}}} %{{y}} \\n "q" 'a'
-----END KEY-----
"""


def _job(script: str | Program) -> Any:
    secrets = {"KEY": Secret(KEY), "REMOTE_URL": Secret(f"https://user:{SECRET_VALUE}@git.example/x")}
    env = {"KEY": SecretRef(name="KEY")}
    return job("shell", script, env=env, args=[SecretRef(name="REMOTE_URL")], secrets=secrets, init="true")


def test_a_secret_of_several_lines_arrives_unchanged(driver: NomadDriver) -> None:
    wanted = _job('printf "%s" "$KEY" | od -An -v -tu1')  # a key in hexadecimal would be masked
    driver.submit(wanted, within(10))
    assert outcome(driver, wanted.name).reason == "succeeded"
    assert bytes(map(int, printed(driver, wanted.name).split())) == KEY.encode()


def test_no_secret_is_in_what_nomad_shows(nomad: Nomad, driver: NomadDriver) -> None:
    wanted = _job("exit 3")
    driver.submit(wanted, within(10))
    outcome(driver, wanted.name)
    (allocation,) = nomad.get(f"job/{wanted.name}/allocations")
    path = f"job/{wanted.name}"
    shown = [
        *(nomad.get(each) for each in (path, f"{path}/versions", f"{path}/evaluations", f"{path}/allocations")),
        nomad.get(f"{path}/summary"),
        nomad.get(f"allocation/{allocation['ID']}"),
        nomad.get("jobs", meta="true"),
        nomad.get("vars"),
        _cli(nomad, "job", "inspect", wanted.name),
        _cli(nomad, "job", "status", "-verbose", wanted.name),
        _cli(nomad, "alloc", "status", "-verbose", allocation["ID"]),
        _events(nomad),
    ]
    assert wanted.name in json.dumps(shown)
    for each in shown:
        assert SECRET_VALUE not in json.dumps(each)
    assert SECRET_VALUE in json.dumps(nomad.get(f"var/nomad/jobs/{wanted.name}"))


@pytest.mark.parametrize("end", ["reported", "cancelled", "timed out"])
def test_no_secret_outlives_its_job(nomad: Nomad, driver: NomadDriver, end: str) -> None:
    wanted = _job(Program(endless=end != "reported"))
    driver.submit(wanted, within(10))
    if end == "cancelled":
        driver.cancel(cancellation(wanted.name), within(10), tombstone=True)
    if end == "reported":
        assert driver.mark_reported(last(driver, wanted.name), outcome(driver, wanted.name))
    if end == "timed out":
        until(driver, wanted.name, lambda seen: seen.phase == "running")
        driver.cancel(cancellation(wanted.name), within(10), tombstone=True)
        assert driver.mark_reported(last(driver, wanted.name), Outcome(reason="timed_out", code=5105, hmessage=""))
    assert SECRET_VALUE not in json.dumps(nomad.get(f"var/nomad/jobs/{wanted.name}"))


def test_the_secrets_of_a_job_that_was_cancelled_before_its_submit_are_not_stored(
    nomad: Nomad, driver: NomadDriver
) -> None:
    wanted = _job("true")
    driver.cancel(cancellation(wanted.name), within(10), tombstone=True)
    assert driver.submit(wanted, within(10)) == "cancelled"
    assert SECRET_VALUE not in json.dumps([nomad.get(f"var/nomad/jobs/{wanted.name}"), nomad.get("jobs")])


def test_secrets_too_large_for_a_variable_are_rejected_and_nothing_is_stored(nomad: Nomad, driver: NomadDriver) -> None:
    wanted = job("shell", secrets={"ARTIFACTS": Secret("x" * 70_000)})
    with pytest.raises(Rejected, match="65536"):
        driver.submit(wanted, within(5))
    assert nomad.get("vars") == nomad.get("jobs") == []


def test_the_largest_accepted_secret_arrives(driver: NomadDriver) -> None:
    big = "x&" * 9_000  # a template encodes every second character in up to seven bytes
    wanted = job(
        "shell",
        'printf "%s" "${#ARTIFACTS}"',
        env={"ARTIFACTS": SecretRef(name="ARTIFACTS")},
        secrets={"ARTIFACTS": Secret(big)},
    )
    driver.submit(wanted, within(5))
    assert outcome(driver, wanted.name).reason == "succeeded"
    assert printed(driver, wanted.name) == str(len(big))


def _cli(nomad: Nomad, *arguments: str) -> str:
    environment = {
        "NOMAD_ADDR": nomad.access.url,
        "NOMAD_CACERT": str(nomad.access.ca),
        "NOMAD_TOKEN": nomad.access.token,
    }
    command = [str(nomad.access.nomad), *arguments[:2], f"-namespace={nomad.namespace}", *arguments[2:]]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    return done.stdout


def _events(nomad: Nomad) -> str:
    """The events of the namespace, from Nomad's event stream."""
    import ssl
    import urllib.request

    request = urllib.request.Request(
        f"{nomad.access.url}/v1/event/stream?index=0&namespace={nomad.namespace}",
        headers={"X-Nomad-Token": nomad.access.token},
    )
    lines: list[str] = []
    with urllib.request.urlopen(
        request, context=ssl.create_default_context(cafile=nomad.access.ca), timeout=3
    ) as stream:
        try:
            while line := stream.readline():
                lines.append(line.decode())
        except TimeoutError:
            pass
    assert lines
    return "".join(lines)


def test_the_repr_of_the_driver_contains_no_secret(make_driver: Callable[..., NomadDriver]) -> None:
    assert SECRET_VALUE not in repr(make_driver())
