"""YAML's aliases: a few lines of them can stand for gigabytes, and a reader that writes them out does not end."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

MAX_ADDED = 1024 * 1024
"""The most characters and nodes that the aliases of one document may add to it."""


def problem(document: yaml.Node) -> str:
    """Why the aliases of a document are refused: a sentence's end. Empty if they are not."""
    measure = _Measure()
    try:
        added = measure.expanded(document) - measure.written
    except _RecursiveError:
        return "an alias stands inside its own value; write the value out"
    return "its aliases make it too large; write the values out" if added > MAX_ADDED else ""


class _RecursiveError(Exception):
    """An alias stands inside its own value."""


class _Measure:
    """The size of a document as it is written, and with each alias replaced by its value. Visits each node once."""

    def __init__(self) -> None:
        self.written = 0
        self._sizes: dict[int, int] = {}

    def expanded(self, node: yaml.Node) -> int:
        """The size with the aliases replaced."""
        if (size := self._sizes.get(id(node))) is not None:
            if size == 0:
                raise _RecursiveError
            return size
        self._sizes[id(node)] = 0  # until its children are measured
        own = 1 + (len(node.value) if isinstance(node, yaml.ScalarNode) else 0)
        self.written += own
        self._sizes[id(node)] = size = own + sum(map(self.expanded, _children(node)))
        return size


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
