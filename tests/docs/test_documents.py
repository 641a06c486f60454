"""Every example of the documents works, and every table of theirs is complete."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import msgspec
import pytest
import yaml
from click.testing import CliRunner

from functions.http.problem import CODES
from runner.cli import main
from runner.config.loading import parse
from runner.config.section import Section
from runner.config.types import Config, LimitsSection
from runner.errors import TABLE
from runner.outcomes import RULES
from runner.request_types import REQUEST_TYPES
from tests.conftest import ROOT, KeyPair

OURS = r"(\.venv/bin/)?python -m runner "
"""How a command of ours begins."""

DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def blocks(language: str) -> list[Any]:
    """The fenced blocks of a language, as parameters named after their place."""
    return [
        pytest.param(match[2], id=f"{document.name}-{index}")
        for document in DOCUMENTS
        for index, match in enumerate(re.finditer(r"^```(.+?)\n(.*?)^```$", document.read_text(), re.M | re.S))
        if match[1] == language
    ]


def _commands(block: str) -> Iterator[str]:
    for line in block.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            yield line[2:].partition("  #")[0].strip()


COMMANDS = [command for block in blocks("console") for command in _commands(block.values[0])]


@pytest.mark.parametrize("example", blocks("yaml"))
def test_a_whole_configuration_is_good(example: str, runner_keys: KeyPair, atlas_keys: KeyPair) -> None:
    document = yaml.safe_load(example)
    document["runner"]["privateKey"] = runner_keys.private
    document["deepsource"]["publicKey"] = atlas_keys.public

    assert parse(yaml.safe_dump(document), {}).runner.id


@pytest.mark.parametrize("example", blocks("yaml fragment"))
def test_a_part_of_a_configuration_is_good(example: str, document: dict[str, Any]) -> None:
    assert parse(yaml.safe_dump({**document, **yaml.safe_load(example)}), {}).runner.id


@pytest.mark.parametrize("example", [*blocks("json answer"), *blocks("json problem")])
def test_an_answer_is_json(example: str) -> None:
    assert msgspec.json.decode(example)


@pytest.mark.parametrize("command", [each for each in COMMANDS if re.match(OURS, each)])
def test_a_command_of_ours_has_the_options_it_is_shown_with(command: str) -> None:
    """Parses the command line without running it: an unknown command or option is a usage error."""
    arguments = shlex.split(re.sub(OURS, "", command))
    group: click.Command = main
    while isinstance(group, click.Group):
        chosen = group.get_command(click.Context(group), arguments.pop(0))
        assert chosen is not None, command
        group = chosen
    with group.make_context("documented", arguments):  # leaving it closes the files that it opened
        pass


def test_the_example_of_render_prints_a_job_and_its_secret() -> None:
    result = CliRunner().invoke(main, ["render", "analysis", str(ROOT / "examples" / "analysis.json")])

    assert result.exit_code == 0
    assert [each["kind"] for each in yaml.safe_load_all(result.output)] == ["Job", "Secret"]


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {word for path in DOCUMENTS for word in re.findall(r"`make ([a-z-]+)", path.read_text())}
    named |= {command.split()[1] for command in COMMANDS if command.startswith("make ")}

    assert named <= targets


def test_the_api_document_lists_every_path_and_spelling() -> None:
    text = (ROOT / "docs" / "http.md").read_text()
    lines = re.findall(r"^\| `(\w+)` \| (.*)$", text.partition("##")[0], re.M)
    assert {name: tuple(re.findall(r"`(/tasks/[^`]+)`", line)) for name, line in lines} == {
        name: row.paths for name, row in REQUEST_TYPES.items()
    }


def test_the_grpc_document_lists_every_call_with_its_request_type() -> None:
    listed = re.findall(r"^\| `(\w+)` \| `(\w+_run)` \|$", (ROOT / "docs" / "grpc.md").read_text(), re.M)
    assert dict(listed) == {row.rpc: name for name, row in REQUEST_TYPES.items()}


def test_the_api_document_lists_every_error_with_its_status() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| (\d+) \|", (ROOT / "docs" / "http.md").read_text(), re.M)

    refused = {code: status for status, (code, _) in CODES.items()}
    assert {code: int(status) for code, status in rows} == refused | {code: row.http for code, row in TABLE.items()}


def test_the_document_of_outcomes_lists_every_reason_with_its_code() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| (\d+) \| [^|]+ \| [^|]+ \| [^|]+ \|$", _text("outcomes.md"), re.M)

    assert sorted((reason, int(code)) for reason, code in rows) == sorted((rule.reason, rule.code) for rule in RULES)


def test_the_document_of_outcomes_has_the_defaults_of_the_limits() -> None:
    limits = LimitsSection()
    rows = dict(re.findall(r"^\| `limits\.(\w+)` \| (\d+ s|none) \|", _text("outcomes.md"), re.M))

    assert rows == {
        "imageSeconds": f"{limits.image_seconds} s",
        "registrySeconds": f"{limits.registry_seconds} s",
        "queueSeconds": f"{limits.queue_seconds} s",
        "admissionSeconds": f"{limits.admission_seconds} s" if limits.admission_seconds else "none",
    }


def _text(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def test_the_configuration_document_names_every_key() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    missing = [key for key in _keys(Config) if not re.search(rf"\b{re.escape(key.rpartition('.')[2])}\b", text)]

    assert not missing


def _keys(section: type[Section], prefix: str = "") -> Iterator[str]:
    """Every key that is ours, in the file's spelling; those of other programs have the type Any."""
    for field in msgspec.structs.fields(section):
        kinds = [field.type, *get_args(field.type)]
        inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)
        if field.type is Any:
            continue
        if inner is None:
            yield f"{prefix}{field.encode_name}"
        else:
            yield from _keys(inner, f"{prefix}{field.encode_name}.")


def test_files_that_the_readme_names_exist() -> None:
    table = (ROOT / "README.md").read_text().partition("## Where things are")[2]
    for name in re.findall(r"^\| `([^`]+)`", table, re.M):
        assert Path(ROOT / name).exists(), name
