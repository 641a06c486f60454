"""The tables of issue codes and formatters."""

from __future__ import annotations

RULES = {
    "PYL-W0611": "F401",  # unused import
    "PYL-W0612": "F841",  # unused variable
    "PYL-W0404": "F811",  # imported or defined again, unused so far
    "PYL-E0602": "F821",  # undefined name
    "PYL-W1309": "F541",  # f-string without placeholders
    "PYL-W0102": "B006",  # mutable default argument
    "PYL-R0205": "UP004",  # useless inheritance from object
    "FLK-E711": "E711",  # == None
    "FLK-E712": "E712",  # == True
    "FLK-E722": "E722",  # bare except
    "FLK-W291": "W291",  # white space at the end of a line
    "FLK-W605": "W605",  # invalid escape sequence
    "BAN-B307": "S307",  # eval
    "BAN-B602": "S602",  # subprocess with a shell
    "PTC-W0010": "SIM115",  # file opened without with
    "PTC-W0014": "T100",  # debugger left in; ruff has no fix for it, so an autofix reports that
    "PYL-E0001": "invalid-syntax",  # always checked
}
"""Issue codes as atlas knows them, and the rule of ruff for each. An analysis checks all of them."""

CODES = {rule: code for code, rule in RULES.items()}

FORMATTERS = {
    "black": ("format",),
    "autopep8": ("format",),
    "yapf": ("format",),
    "isort": ("check", "--fix", "--exit-zero", "--select", "I"),
}
"""Transformers as atlas knows them, and the command of ruff that does the same."""
