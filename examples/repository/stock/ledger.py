"""A ledger of the stock."""

import json
import os


class Ledger:
    """A list of movements, each with a name and a count."""

    def __init__(self, movements=[]):
        self.movements = movements

    def count(self, name):
        """The number of pieces; None where the name is unknown."""
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
