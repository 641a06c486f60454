"""The command line: reads the flags, then clones or commits."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from .commit import commit_and_publish
from .errors import FAILURES
from .output import Output, secrets_in
from .prepare import prepare

DONE, FAILED = 0, 1

_REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


def main(arguments: Sequence[str], environ: Mapping[str, str], program: Path) -> int:
    """Clone or commit, as the flags say. `program` is coat's own path. Gives the exit code."""
    options = _parse(expand_references(arguments, environ))
    output = Output(secrets_in(options.remote_url, environ))
    try:
        if options.patch_meta is not None:
            return DONE if commit_and_publish(options, environ, output) else FAILED
        prepare(options, environ, output, program)
    except FAILURES as error:
        output.write(f"coat: {error}")
        return FAILED
    return DONE


def expand_references(arguments: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """The arguments, with each that is exactly `$(NAME)` replaced by that variable.

    The kubelet does this itself. On a host every user can read the arguments of a process, so there a secret argument
    arrives as the reference. The name of a branch can look like a reference, so it is never replaced.
    """

    def value(flag: str, argument: str) -> str:
        reference = None if flag == "--base-branch" else _REFERENCE.fullmatch(argument)
        return environ.get(reference[1], argument) if reference else argument

    return [value(flag, argument) for flag, argument in pairwise(["", *arguments])]


class _Parser(argparse.ArgumentParser):
    """Reports wrong flags without their values, which may be secrets."""

    def error(self, message: str) -> NoReturn:
        if not message.startswith("the following arguments are required"):
            message = f"{message.partition(': ')[0]} cannot be understood"
        super().error(message)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    about = "Clones a repository for marvin, or commits stored patches to it."
    parser = _Parser(prog="coat", description=about, allow_abbrev=False)
    add = parser.add_argument
    add("--run-id", required=True)
    add("--check-seq", help="the number of the check; not with --patch-meta")
    add("--remote-url", required=True, help="https, http, ssh, file or scp-like; with credentials")
    add("--base-branch", default="", help="fetched as origin/BRANCH; HEAD where empty")
    add("--checkout-oid", required=True, help="the commit to check out, on any branch or on none")
    add("--clone-submodules", choices=("true", "false"), default="false")
    add("--sparse-checkout-path", default="", help="check out this directory only")
    add("--artifacts", default="", help="JSON: what to download, or with --patch-meta the patches")
    add("--decrypt-remote-url", choices=("false",), help="the URL is never encrypted")
    add("--patch-meta", help="JSON: commit and push, instead of cloning for marvin")
    add("--snippet-storage-type", default="", help="only http is supported")
    add("--snippet-storage-bucket", default="", help="with http: the base URL")
    return parser.parse_args(arguments)
