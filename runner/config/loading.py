"""Reading the configuration: one YAML file, and the environment for secrets and where the file is silent.

All problems are reported at once. A value in the file overrides the environment variable, as in the orchestrator that
this one replaces.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import yaml

from runner.config import aliases, finite
from runner.config.reading import MAX_DEPTH, MAX_PROBLEMS, read
from runner.config.rules import problems
from runner.config.types import Config
from runner.errors import Invalid, Malformed

DEFAULT_PATH = "orchestrator.yaml"
PATH_VARIABLE = "ORCHESTRATOR_CONFIG"

_ENVIRONMENT: dict[str, tuple[str, ...]] = {
    "TASK_NAMESPACE": ("kubernetes", "namespace"),
    "TASK_NODE_SELECTOR": ("kubernetes", "nodeSelector"),
    "TASK_IMAGE_REGISTRY_URL": ("kubernetes", "imageRegistry", "registryUrl"),
    "TASK_IMAGE_PULL_SECRET_NAME": ("kubernetes", "imageRegistry", "pullSecretName"),
    "TASK_ARTIFACT_SECRET_NAME": ("artifactSecretName",),
    "ORCHESTRATOR_RUNNER_ID": ("runner", "id"),
    "ORCHESTRATOR_PRIVATE_KEY": ("runner", "privateKey"),
    "ORCHESTRATOR_PUBLIC_KEY": ("deepsource", "publicKey"),
    "ORCHESTRATOR_SENTRY_DSN": ("sentry", "dsn"),
    "ORCHESTRATOR_LOG_LEVEL": ("log", "level"),
}
_YAML_VARIABLES = frozenset({"TASK_NODE_SELECTOR"})


def locate(path: str | None, environ: Mapping[str, str]) -> Path:
    """The file to read: as given, else as `ORCHESTRATOR_CONFIG` says, else `orchestrator.yaml` here."""
    return Path(path or environ.get(PATH_VARIABLE) or DEFAULT_PATH)


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """The configuration in `path`. Raises Malformed where it is no YAML, Invalid with everything else wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed(f"the configuration {path} cannot be read: {error}") from error
    return parse(text, environ)


def parse(text: str, environ: Mapping[str, str]) -> Config:
    """The configuration in `text`, checked."""
    document = _yaml(text, "the configuration")
    if not isinstance(document, dict):
        raise Malformed("the configuration must be a mapping of sections; see docs/configuration.md")
    _settle_driver(document)
    for variable, keys in _ENVIRONMENT.items():
        if value := environ.get(variable):
            _fill(document, keys, _yaml(value, variable) if variable in _YAML_VARIABLES else value)
    try:
        encoded = msgspec.json.encode(document)
    except (TypeError, ValueError, RecursionError) as error:
        raise Malformed(f"the configuration has a value that is no text, number, list or mapping: {error}") from error
    found = [*islice(finite.problems(document), MAX_PROBLEMS)]
    try:
        config = read(encoded, Config, unknown="refuse", rules=problems)
    except Invalid as error:
        named = {problem.pointer for problem in found}
        raise Invalid([*found, *(each for each in error.problems if each.pointer not in named)]) from error
    if found:
        raise Invalid(found)
    return config


def _yaml(text: str, what: str) -> Any:
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader's subclass)
    except yaml.MarkedYAMLError as error:
        # PyYAML's own message quotes the line, which may be one of a private key; the cause would show it in a log.
        mark = error.problem_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise Malformed(f"{what} is not YAML: {error.problem}{where}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Malformed(f"{what} is not YAML: it has a control character (line {line}); remove it") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise Malformed(f"{what} is not YAML: {error}") from None
    return {} if document is None else document


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice, which YAML forbids and PyYAML lets through; says in which line a value is wrong.

    Aliases that add too much are refused.

    PyYAML lets Python's own errors out for a month 13, for `!!int x` and for a list as a key. It would read 010 as 8
    and 1:30 as 90 (YAML 1.1), which nobody means who writes them today; here they are text.
    """

    def fetch_flow_collection_start(self, token: Any) -> None:
        """A level more of brackets. The scanner's time grows with the square of their number."""
        if self.flow_level >= MAX_DEPTH:
            raise yaml.scanner.ScannerError(None, None, f"nested deeper than {MAX_DEPTH} levels", self.get_mark())
        super().fetch_flow_collection_start(token)

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None and (problem := aliases.problem(node)):
            raise _refusal(problem, node)
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
            str(value).encode() if isinstance(value, str | int) else None  # a lone surrogate; over 4300 digits
        except (ValueError, TypeError, LookupError, AttributeError):
            raise _refusal("this value does not fit its form", node) from None
        if node.tag in _NUMBERS and _OLD_NUMBER.match(node.value):
            return node.value
        return value

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable) or key is None or isinstance(key, bool):
                raise _refusal(
                    "a key must be text; quote it if it is one of the words null, yes, no, on, off", key_node
                )
            if key in seen:
                raise _refusal(f"the key {key!r} stands twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)


_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_OLD_NUMBER = re.compile(r"[-+]?(?:0[0-9_]|.*:)")
_MERGE = "tag:yaml.org,2002:merge"


def _refusal(problem: str, node: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _settle_driver(document: dict[str, Any]) -> None:
    """The driver is `local` if the file names none and has no `kubernetes` section, which the environment may add."""
    if document.get("kubernetes") is None and document.get("driver") is None:
        document["driver"] = "local"


def _fill(document: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    """Set the value where the file has none."""
    *sections, last = keys
    for section in sections:
        inner = document.get(section)
        if inner is None:
            inner = document[section] = {}
        if not isinstance(inner, dict):
            return
        document = inner
    if not document.get(last):
        document[last] = value


__all__ = ["DEFAULT_PATH", "PATH_VARIABLE", "Invalid", "load", "locate", "parse"]
