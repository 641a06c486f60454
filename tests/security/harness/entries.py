"""The corpus of bad inputs: reading `corpus/*.jsonl`, whose README has the format."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from functions.http.openapi.document import EXAMPLES
from runner.errors import TABLE

CORPUS = Path(__file__).parents[1] / "corpus"
ACCEPTED = "accepted"

_MARK = "\ue000raw-{}\ue000"
"""Stands for raw text while a document is encoded. The corpus has no character of this private area otherwise."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One input and its right answer."""

    name: str
    protocols: tuple[str, ...]
    code: str
    base: str = "analysis_run"
    set: dict[str, Any] = {}
    remove: tuple[str, ...] = ()
    raw: dict[str, Any] = {}
    body: Any = None
    data: Any = None
    wire: Any = None
    half_close: bool = True
    headers: dict[str, Any] = {}
    path: str = ""
    method: str = "POST"
    properties: dict[str, Any] = {}
    pointers: tuple[str, ...] = ()
    status: int | tuple[int, ...] = 0
    grpc: str = ""
    pending: bool = False

    def __repr__(self) -> str:
        return self.name

    @property
    def request_type(self) -> str:
        return self.base.partition("/")[0]

    @property
    def statuses(self) -> list[int]:
        """Of HTTP."""
        if isinstance(self.status, tuple):
            return list(self.status)
        return [self.status or TABLE[self.code].http]

    @property
    def grpc_status(self) -> str:
        return self.grpc or ("OK" if self.code == ACCEPTED else TABLE[self.code].grpc)

    def document(self, run: str) -> dict[str, Any]:
        """The changed request, under this run's id unless the entry changes the id itself. Without what is `raw`."""
        document = base(self.base)
        document["run_id"] = run
        if "analysis_meta" in document:
            document["analysis_meta"]["run_id"] = run
        for pointer, value in self.set.items():
            change(document, pointer, expanded(value))
        for pointer in self.remove:
            change(document, pointer, None, remove=True)
        return document

    def payload(self, run: str) -> bytes:
        """The body of HTTP and AMQP."""
        if self.body is not None:
            return as_bytes(self.body)
        document = self.document(run)
        for number, pointer in enumerate(self.raw):
            change(document, pointer, _MARK.format(number))
        text = json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")
        for number, value in enumerate(self.raw.values()):
            text = text.replace(json.dumps(_MARK.format(number), ensure_ascii=False).encode(), as_bytes(value))
        return text


def base(name: str) -> dict[str, Any]:
    """A fresh copy of an example: `analysis_run`, or `analysis_run/everything`."""
    request_type, _, example = name.partition("/")
    named = _examples()[request_type]
    found: dict[str, Any] = copy.deepcopy(named[example or next(iter(named))])
    return found


@cache
def _examples() -> dict[str, dict[str, dict[str, Any]]]:
    decoded: dict[str, dict[str, dict[str, Any]]] = json.loads(EXAMPLES.read_bytes())
    return decoded


def change(document: Any, pointer: str, value: Any, *, remove: bool = False) -> None:
    """Set or remove what the JSON pointer names; missing objects on the way are made, `-` appends."""
    *way, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    for part in way:
        document = document[int(part)] if isinstance(document, list) else document.setdefault(part, {})
    if isinstance(document, list):
        if last == "-":
            document.append(value)
        else:
            document[int(last)] = value
    elif remove:
        del document[last]
    else:
        document[last] = value


def expanded(value: Any) -> Any:
    """The value, with the recipes in it carried out."""
    if isinstance(value, list):
        return [expanded(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "$repeat" in value:
        return value["$repeat"] * value["times"]
    if "$list" in value:
        return [expanded(value["$list"])] * value["times"]
    if "$join" in value:
        return "".join(expanded(each) for each in value["$join"])
    if "$keys" in value:
        return {f"{value['$keys']}{number}": expanded(value["value"]) for number in range(value["times"])}
    return {name: expanded(each) for name, each in value.items()}


def as_bytes(value: Any) -> bytes:
    """Text in UTF-8, or a recipe for bytes."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict) and "$hex" in value:
        return bytes.fromhex(value["$hex"])
    if isinstance(value, dict) and "$repeat" in value:
        return as_bytes(value["$repeat"]) * int(value["times"])
    if isinstance(value, dict) and "$join" in value:
        return b"".join(as_bytes(each) for each in value["$join"])
    return str(value).encode("utf-8", "surrogatepass")


def load() -> list[Entry]:
    """All entries, in the order of the files."""
    return list(_entries())


def _entries() -> Iterator[Entry]:
    decoder = msgspec.json.Decoder(Entry)
    for path in sorted(CORPUS.glob("*.jsonl")):
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                yield decoder.decode(line)
            except msgspec.ValidationError as error:
                raise AssertionError(f"{path.name}:{number}: {error}") from error
