import pytest

from stock.ledger import Ledger


def test_counts():
    assert Ledger([("nail", 3), ("nail", -1)]).count("nail") == 2
