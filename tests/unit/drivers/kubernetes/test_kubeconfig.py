"""runner.drivers.kubernetes.credentials: a kubeconfig is read as kubectl reads it, and no plugin hangs for ever."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

from runner.config.drivers import KubernetesSection
from runner.drivers.http.curl import CurlHttpClient
from runner.drivers.kubernetes.api import ApiServerClient
from runner.drivers.kubernetes.credentials import plugin, read_access
from runner.errors import Unavailable
from runner.runtime.clock import SystemClock
from tests.harness.deadlines import within
from tests.harness.processes import eventually
from tests.unit.drivers.kubernetes.kubeconfigs import CASES, PLUGIN, Case, Recorder, recorder, write


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Recorder]:
    with recorder(home) as made:
        yield made


def url(server: Recorder) -> str:
    return f"https://127.0.0.1:{server.server_port}"


def ask(settings: KubernetesSection, **environ: str) -> None:
    clock = SystemClock()
    environment = {"PATH": os.environ["PATH"], **environ}
    client = ApiServerClient(settings, http=CurlHttpClient(clock), clock=clock, environ=environment)
    assert client.call("GET", "/version", within(20)).status == 200


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_each_kubeconfig_is_followed_or_refused(case: Case, home: Path, server: Recorder) -> None:
    settings = KubernetesSection(kubeconfig=str(write(home, case, url(server))))
    server.seen.clear()
    if case.sent is None:
        with pytest.raises(Unavailable) as caught:
            ask(settings)
        assert case.said in caught.value.detail
        assert server.seen == []
    else:
        ask(settings)
        assert server.seen == [case.sent]


def test_a_relative_path_starts_at_its_own_file_of_several(home: Path, server: Recorder, tmp_path: Path) -> None:
    first = write(home, Case("a", {"tokenFile": "token"}), url(server)).rename(home / "kubeconfigs" / "first")
    (tmp_path / "token").write_text("another")
    document = yaml.safe_load(first.read_text())
    other = {"name": "other", "user": {"tokenFile": "token"}}
    context = {"name": "second", "context": {"cluster": "c", "user": "other"}}
    second = tmp_path / "second"
    second.write_text(yaml.safe_dump({"users": [other], "contexts": [context], "current-context": "second"}))
    assert document["current-context"] == "x"
    both = f"{first}:{tmp_path}/missing:{second}"

    server.seen.clear()
    ask(KubernetesSection(), KUBECONFIG=both)
    ask(KubernetesSection(context="second"), KUBECONFIG=both)
    ask(KubernetesSection(), KUBECONFIG=f"{second}:{first}")
    assert server.seen == [(f"authorization: Bearer {token}",) for token in ("from-file", "another", "another")]


@pytest.mark.parametrize("environ", [{"KUBECONFIG": "/nowhere/a:/nowhere/b"}, {"HOME": "/nowhere"}])
def test_a_missing_kubeconfig_is_named(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nowhere")
    with pytest.raises(Unavailable, match=r"there is no kubeconfig at (/nowhere/a|~)"):
        read_access(KubernetesSection(), environ)


HANGS = """#!/bin/sh
[ -e {directory}/ran ] && exec ./plugin
touch {directory}/ran
sleep 600 &
echo $! > {directory}/child
sleep 600
"""


def test_a_plugin_that_hangs_is_killed_with_what_it_started_and_run_again(
    home: Path, server: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(home, Case("a", {"exec": {**PLUGIN, "command": "./hangs"}}), url(server))
    hangs = path.parent / "hangs"
    hangs.write_text(HANGS.format(directory=tmp_path).replace("./plugin", str(path.parent / "plugin")))
    hangs.chmod(0o755)
    monkeypatch.setattr(plugin, "PLUGIN_SECONDS", 1.0)
    settings = KubernetesSection(kubeconfig=str(path))

    with pytest.raises(Unavailable, match="user u returned neither token nor certificate: it hung, and was killed"):
        ask(settings)
    child = int((tmp_path / "child").read_text())
    eventually(lambda: "Z" in _state(child), "what the plugin has started is killed as well")
    server.seen.clear()
    ask(settings)
    assert server.seen == [("authorization: Bearer from-plugin",)]


def _state(pid: int) -> str:
    """The state of a process as in proc(5); Z, as of a dead one, if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def test_a_plugin_gets_the_environment_without_our_secrets(home: Path, server: Recorder) -> None:
    case = Case("a", {"exec": {**PLUGIN, "command": "./environment"}})
    path = write(home, case, url(server))
    program = path.parent / "environment"
    program.write_text((path.parent / "plugin").read_text().replace("from-plugin", "$THEIRS-$ORCHESTRATOR_PRIVATE_KEY"))
    program.write_text(program.read_text().replace("'END'", "END"))
    program.chmod(0o755)
    server.seen.clear()
    ask(KubernetesSection(kubeconfig=str(path)), THEIRS="theirs", ORCHESTRATOR_PRIVATE_KEY="ours")
    assert server.seen == [("authorization: Bearer theirs-",)]


def test_what_a_plugin_prints_is_not_quoted(home: Path, server: Recorder) -> None:
    path = write(home, Case("a", {"exec": {**PLUGIN, "command": "sh", "args": ["-c", "echo hunter2"]}}), url(server))
    access = msgspec.structs.replace(KubernetesSection(), kubeconfig=str(path))
    with pytest.raises(Unavailable) as caught:
        ask(access)
    assert "hunter2" not in f"{caught.value.detail} {caught.value.__cause__!r}"


def test_a_reason_is_short_however_much_its_loader_quotes(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_text("current-context: " + "c" * 100_000)
    with pytest.raises(Unavailable) as caught:
        ask(KubernetesSection(kubeconfig=str(path)))
    assert len(caught.value.detail) < 2000
