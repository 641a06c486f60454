"""runner.config.section_variable: a protocol's section in one variable, read by the rules of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from runner.config.section_variable import BY_PROTOCOL, GRPC, HTTP, RABBITMQ, SectionVariable
from runner.config.types import Config
from runner.errors import Invalid, Malformed

ALL = list(BY_PROTOCOL.values())
every_section = pytest.mark.parametrize("section", ALL, ids=[each.section for each in ALL])


def problems(section: SectionVariable[Any], document: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        section.read({section.variable: msgspec.json.encode(document).decode()})
    for problem in caught.value.problems:
        assert f"{problem.pointer} {problem.message}" in caught.value.detail
    assert f"python -m runner section {section.section}" in caught.value.detail
    return {problem.pointer: problem.message for problem in caught.value.problems}


@every_section
def test_unset_means_the_defaults(section: SectionVariable[Any]) -> None:
    assert section.read({}) == section.read({section.variable: "{}"}) == section.kind()
    assert section.kind() == getattr(Config(), section.section)


@every_section
def test_what_is_encoded_is_read_back(section: SectionVariable[Any]) -> None:
    value = section.encode(Config())
    assert section.read({section.variable: value}) == section.kind()
    assert msgspec.json.decode(value).keys() == msgspec.to_builtins(section.kind()).keys()
    assert "\n" not in value


@every_section
@pytest.mark.parametrize("value", ["", " ", "{", "bind: x", "{} {}", "\udcff", "[" * 5000, "[" * 65 + "]" * 65])
def test_what_is_no_json_is_refused_with_what_to_do(section: SectionVariable[Any], value: str) -> None:
    """The empty value is what a command that failed leaves in `export X="$(…)"`. It must not mean the defaults."""
    with pytest.raises(Malformed, match=rf"{section.variable} is .*python -m runner section {section.section}"):
        section.read({section.variable: value})


def test_every_bad_field_is_named_at_once() -> None:
    assert problems(HTTP, {"bind": "x", "workers": 0, "threds": 1}).keys() == {
        "/http/bind", "/http/workers", "/http/threds",
    }  # fmt: skip
    assert problems(HTTP, []) == {"/http": "must be an object"}


def test_the_rules_between_values_hold_as_in_the_file(tmp_path: Path) -> None:
    file = str(tmp_path / "missing.pem")
    assert problems(GRPC, {"tls": {"key": file}}).keys() == {"/grpc/tls/certificate", "/grpc/tls/key"}
    assert problems(RABBITMQ, {"delays": [1, 1]}) == {"/rabbitmq/delays": "must grow from one to the next"}
    shared = {"queues": {"analysis_run": {"queue": "autofix_run"}}}
    assert problems(RABBITMQ, shared).keys() == {"/rabbitmq/queues/autofix_run/queue"}


@every_section
def test_a_removed_variable_is_refused_and_names_the_key_that_replaces_it(section: SectionVariable[Any]) -> None:
    keys = set(flat(msgspec.to_builtins(section.kind())))
    for name, key in section.removed.items():
        assert key in keys
        with pytest.raises(Malformed) as refused:
            section.read({name: "1", section.variable: "{}"})
        assert f"{name} is no longer read" in refused.value.detail
        assert f"{section.section}.{key} in {section.variable}" in refused.value.detail
    with pytest.raises(Malformed) as refused:
        section.read(dict.fromkeys(section.removed, "1"))
    assert [name for name in section.removed if name not in refused.value.detail] == []


@every_section
def test_only_the_very_names_are_refused(section: SectionVariable[Any]) -> None:
    """Kubernetes sets variables like these for a Service of that name, and an empty variable sets nothing."""
    services = {f"{section.variable}_PORT": "tcp://10.0.0.1:80", f"{section.variable}_SERVICE_HOST": "10.0.0.1"}
    assert section.read(services | dict.fromkeys(section.removed, "")) == section.kind()


def flat(document: dict[str, Any], at: str = "") -> list[str]:
    nested = [name for name, value in document.items() if isinstance(value, dict) and value]
    inner = [key for name in nested for key in flat(document[name], f"{at}{name}.")]
    return [*inner, *(f"{at}{name}" for name in document if name not in nested)]
