"""A report of the stock."""

import sys
import textwrap

from stock.ledger import Ledger


def print_report(ledger: Ledger, names, out=sys.stdout):
    width = 40
    total = 0
    out.write(f"In stock:\n")
    for name in names:
        count = ledger.count(name)
        if count == None:
            continue
        total += count
        out.write(f"  {name:<20}{count:>6}\n")
    summary = f"{total} pieces"
    breakpoint()
