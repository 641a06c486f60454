"""Run a command under a unit's SystemCallFilter, as systemd does: `python system_calls.py UNIT COMMAND ...`.

systemd itself is not needed, only its list of groups (`systemd-analyze syscall-filter`) and libseccomp (seccomp(2)).
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | errno.EPERM


def allowed(unit: str) -> set[str]:
    """The system calls that a unit allows. The first line of its filter must be a list of what is allowed."""
    lines = [line.partition("=")[2] for line in unit.splitlines() if line.startswith("SystemCallFilter=")]
    groups = _groups()
    found = set(_calls(groups, "@default"))
    for line in lines:
        calls = {call for name in line.lstrip("~").split() for call in _calls(groups, name)}
        found = found - calls if line.startswith("~") else found | calls
    return found


def _groups() -> dict[str, list[str]]:
    """The members of each group: calls, and other groups."""
    said = subprocess.run(("systemd-analyze", "syscall-filter"), capture_output=True, text=True, check=True).stdout
    found: dict[str, list[str]] = {}
    for line in said.splitlines():
        if line.startswith("@"):
            found[line] = []
        elif found and line.strip() and not line.strip().startswith("#"):
            found[next(reversed(found))].append(line.strip())
    return found


def _calls(groups: dict[str, list[str]], name: str) -> Iterator[str]:
    if name not in groups:
        yield name
        return
    for member in groups[name]:
        yield from _calls(groups, member)


def _restrict(calls: set[str]) -> None:
    """Refuse all other calls with EPERM, in this process and in what it executes."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(_REFUSE))
    for call in sorted(calls):
        number = library.seccomp_syscall_resolve_name(call.encode())
        if number >= 0:  # a negative number is a call of another architecture
            assert library.seccomp_rule_add(context, _ALLOW, number, 0) == 0, call
    assert library.seccomp_load(context) == 0


if __name__ == "__main__":
    _restrict(allowed(Path(sys.argv[1]).read_text()))
    os.execvp(sys.argv[2], sys.argv[2:])
