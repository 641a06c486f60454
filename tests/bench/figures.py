"""A measured value and the bound that it is held against."""

from __future__ import annotations

import msgspec


class Figure(msgspec.Struct):
    """One measured value and what it should be."""

    name: str
    value: float
    unit: str
    bound: float
    at_least: bool = False
    note: str = ""

    @property
    def kept(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        relation = "at least" if self.at_least else "at most"
        verdict = "ok    " if self.kept else "MISSED"
        value = f"{self.value:8.3f} {self.unit:<4}"
        return f"{verdict}  {self.name:<42} {value} ({relation} {self.bound:g}){'  ' + self.note if self.note else ''}"
