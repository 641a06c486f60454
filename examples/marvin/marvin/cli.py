"""The command line: reads the flags, runs one mode, publishes the result."""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
import traceback
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import Any

from .errors import ERROR, STATUS_FAILED, MarvinError
from .modes import MODES, Mode
from .publishing import publish
from .task import Task

DONE, FAILED, BAD_ARGUMENTS, NOT_ACCEPTED = 0, 1, 2, 3
"""Exit codes: a result is published, a failure is published, the flags are wrong, atlas has accepted nothing."""

Document = dict[str, Any]

_REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the mode of the flags and publish its result. Gives the exit code."""
    options = _parse(expand_references(arguments, environ))
    name = next(name for name in MODES if getattr(options, name) is not None)
    mode = MODES[name]
    try:
        toml = tomllib.loads(mode.decode(getattr(options, name)))
        run_id = str(toml["runID"])
    except (MarvinError, KeyError, ValueError) as error:
        print(f"marvin: --{name} cannot be read: {error!r}", file=sys.stderr)
        return BAD_ARGUMENTS
    report, status = run_mode(mode, toml, options, environ)
    kwargs = {"run_id": run_id, "status": status, **mode.names(toml)}
    try:
        publish({**kwargs, "report": report, "report_object": ""}, environ)
    except (MarvinError, OSError, HTTPException) as error:
        print(f"marvin: the result could not be published: {error}", file=sys.stderr)
        return NOT_ACCEPTED
    print(f"marvin: {status['hmessage']}", file=sys.stderr)
    return FAILED if status["code"] else DONE


def expand_references(arguments: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """The arguments, with each that is exactly `$(NAME)` replaced by that variable.

    The kubelet does this itself. On a host every user can read the arguments of a process, so there a secret argument
    arrives as the reference.
    """
    references = ((argument, _REFERENCE.fullmatch(argument)) for argument in arguments)
    return [environ.get(name[1], argument) if name else argument for argument, name in references]


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    about = "Analyses, fixes or formats Python code and publishes the result."
    parser = argparse.ArgumentParser(prog="marvin", description=about, allow_abbrev=False)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--analyze", metavar="TOML")
    mode.add_argument("--autofix", metavar="BASE64", help="zstd-compressed TOML")
    mode.add_argument("--transform", metavar="TOML")
    add = parser.add_argument
    add("--config", default="{}", metavar="JSON", help="the repository's settings")
    add("--snippet-storage-type", default="", help="only http is supported")
    add("--snippet-storage-bucket", default="", help="with http: the base URL")
    return parser.parse_args(arguments)


def run_mode(
    mode: Mode,
    toml: Document,
    options: argparse.Namespace,
    environ: Mapping[str, str],
) -> tuple[Document, Document]:
    """Report and status of a mode. Every failure gives both as well, so there is always a result to publish."""
    task = None
    try:
        task = Task(toml, options, environ)
        report = mode.run(task)
    except Exception as error:
        hmessage, status = str(error), STATUS_FAILED
        if isinstance(error, MarvinError):
            status = error.status
        else:
            hmessage = f"The {mode.noun} failed: {type(error).__name__}."
            traceback.print_exc()
        empty = {**mode.empty, "errors": [{"hmessage": hmessage, "level": ERROR}]}
        return empty, {"code": status, "hmessage": hmessage, "err": repr(error)}
    report = {**mode.empty, **report, "errors": task.errors}
    return report, {"code": 0, "hmessage": f"The {mode.noun} is done.", "err": ""}
