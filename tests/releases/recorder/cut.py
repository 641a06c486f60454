"""A client of a cluster that simulates the death of its process before one kind of request."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any


class Cut:
    """Sends every request on, except those for which `fatal(method, path)` is true: these raise SystemExit."""

    def __init__(self, fatal: Callable[[str, str], bool]) -> None:
        self._fatal = fatal
        self._client: Any = None
        self._died = False

    def wrap(self, client: Any) -> Cut:
        """Use this client for the requests that are sent on."""
        self._client = client
        return self

    def call(self, method: str, path: str, *arguments: Any, **rest: Any) -> Any:
        """The client's call, or SystemExit."""
        if self._fatal(method, path):
            self._died = True
            raise SystemExit("killed")
        return self._client.call(method, path, *arguments, **rest)

    def expect_death(self, call: Callable[[], object]) -> None:
        """Make the call, which must end with a fatal request."""
        with suppress(SystemExit):
            call()
        assert self._died, "the call made no fatal request"
