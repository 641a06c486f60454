"""Commands: what a request means, as jobs.

`plan` is pure: no I/O, no clock, no environment, so that a command can be rendered, compared and tested without a
cluster. One module per request type, named like its payload, each with one `plan`, which `runner.request_types` names;
what they share is named after the thing it makes. Not in here: how a cluster writes a job down (drivers), or whether it
takes it.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Any

from runner.config.types import Config
from runner.jobs import Action
from runner.payloads import Request
from runner.request_types import REQUEST_TYPES, of_payload


def plan(request: Request, config: Config) -> tuple[Action, ...]:
    """What is to be done for `request`, in order.

    Raises TooLarge where one argument of a job could not be executed.
    """
    return _plan_of(type(request))(request, config)


def preload() -> None:
    """Import every plan. Raises ImportError or AttributeError where a row of the table names none."""
    for row in REQUEST_TYPES.values():
        _resolve(row.plan)


@cache
def _plan_of(kind: type[Request]) -> Callable[[Any, Config], tuple[Action, ...]]:
    return _resolve(of_payload(kind).plan)


def _resolve(name: str) -> Callable[[Any, Config], tuple[Action, ...]]:
    found: Callable[[Any, Config], tuple[Action, ...]] = pkgutil.resolve_name(name)
    return found
