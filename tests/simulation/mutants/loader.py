"""Imports one module with one line of its source replaced."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from tests.simulation.mutants.table import Mutant

ROOT = Path(__file__).absolute().parents[3]


def mutated(mutant: Mutant) -> str:
    """The source with the change. Raises LookupError if the line is not there exactly once."""
    source = (ROOT / mutant.file).read_text(encoding="utf-8")
    if source.count(mutant.old) != 1:
        raise LookupError(f"{mutant.name}: {mutant.file} has {mutant.old!r} {source.count(mutant.old)} times, not once")
    return source.replace(mutant.old, mutant.new)


class MutantFinder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds the mutant's module before anybody else does."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        self._module = mutant.file.removesuffix(".py").replace("/", ".")

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=self._mutant.file)

    def get_source(self, _fullname: str) -> str:
        return mutated(self._mutant)


def install(mutant: Mutant) -> None:
    """From now on, imports get the mutant."""
    sys.meta_path.insert(0, MutantFinder(mutant))
