"""A measured value and its bound."""

from __future__ import annotations

import msgspec


class Figure(msgspec.Struct):
    """One measured value with its unit and the bound that it should meet."""

    name: str
    value: float
    unit: str
    bound: float
    at_least: bool = False
    note: str = ""

    @property
    def met(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        relation = "at least" if self.at_least else "at most"
        verdict = "ok    " if self.met else "MISSED"
        value = f"{self.value:8.3f} {self.unit:<4}"
        return f"{verdict}  {self.name:<42} {value} ({relation} {self.bound:g}){'  ' + self.note if self.note else ''}"
