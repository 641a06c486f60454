"""The pages that install it: their commands make every file that their other commands read."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = ("deploy.md", "nomad.md", "one-host.md")
by_page = pytest.mark.parametrize("page", PAGES)


def text(page: str) -> str:
    return (ROOT / "docs" / page).read_text()


def commands(page: str, program: str) -> Iterator[str]:
    """The page's commands of one program, in its order."""
    for block in re.findall(r"^```console\n(.*?)^```$", text(page), re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith(f"$ {program} "):
                yield line[2:]


def made(page: str, directory: Path) -> set[str]:
    """The names of the keys that the page's commands write into a directory."""
    for command in commands(page, "openssl"):
        subprocess.run(["bash", "-c", command], cwd=directory, check=True, capture_output=True)
    return {each.name for each in directory.iterdir()}


@by_page
def test_the_keys_that_its_commands_read_are_made_by_it(page: str, tmp_path: Path) -> None:
    read = set(re.findall(r"\b[a-z]+\.(?:pem|pub)\b", text(page))) - {"ca.pem"}
    assert read <= made(page, tmp_path)


@by_page
def test_atlas_is_to_get_our_public_key(page: str, tmp_path: Path) -> None:
    made(page, tmp_path)
    half = ["openssl", "rsa", "-in", "runner.pem", "-pubout"]
    public = subprocess.run(half, cwd=tmp_path, check=True, capture_output=True).stdout
    assert (tmp_path / "runner.pub").read_bytes() == public
    assert re.search(r"Give\s+`runner\.pub`\s+to\s+atlas", text(page))


def test_the_smaller_sample_is_another_run_with_lower_limits(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (command,) = commands("deploy.md", "sed")
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    sample, small = (
        json.loads(path.read_text()) for path in (ROOT / "examples" / "analysis.json", tmp_path / "small.json")
    )
    assert small["run_id"] != sample["run_id"]
    for name in ("cpu_limit", "memory_limit"):
        (less, more) = (int(each["checks"][0]["analyzer_meta"][name]) for each in (small, sample))
        assert less < more


def test_the_health_files_of_the_runbook_are_those_of_the_installations() -> None:
    runbook = text("operate.md")
    tracker = (ROOT / "deploy" / "helm" / "orchestrator" / "templates" / "tracker.yaml").read_text()
    job = (ROOT / "deploy" / "nomad" / "orchestrator.nomad.hcl").read_text()
    (apart,) = re.findall(r"ORCHESTRATOR_TRACKER_HEALTH, value: (\S+)}", tracker)
    (socket,) = set(re.findall(r'"(/\S+\.sock)"', job))
    assert f"`{apart}`" in runbook
    assert f"`{socket}.tracker.health`" in runbook
