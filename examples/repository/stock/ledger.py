"""Goods that come and go."""

import json
import os


class Ledger:
    """A list of movements, each a name and a count."""

    def __init__(self, movements=[]):
        self.movements = movements

    def count(self, name):
        """How many there are; None where the name was never heard."""
        found = [count for other, count in self.movements if other == name]
        return sum(found) if found else None

    def is_known(self, name):
        return not self.count(name) == None

    @classmethod
    def load(cls, path):
        try:
            return cls(json.load(open(path)))
        except:
            return cls()
