"""A connection to a cluster that dies before one kind of request, as its process could."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any


class Cut:
    """Passes every request on but those that are fatal."""

    def __init__(self, connection: Any, fatal: Callable[[str, str], bool]) -> None:
        self._connection = connection
        self._fatal = fatal
        self._died = False

    def call(self, method: str, path: str, *arguments: Any, **rest: Any) -> Any:
        if self._fatal(method, path):
            self._died = True
            raise SystemExit("killed")
        return self._connection.call(method, path, *arguments, **rest)

    def dies(self, call: Callable[[], object]) -> None:
        """Make the call, which must end by the fatal request."""
        with suppress(SystemExit):
            call()
        assert self._died, "the call never made the request that was to be its end"
