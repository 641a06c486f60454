"""Clients that ask without pause until they are told to stop, or until nobody takes connections any more."""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

from runner.errors import OrchestratorError
from tests.wire import Connection, request


class Load:
    """Threads with a client each. `outcomes` counts what became of their requests."""

    def __init__(self, threads: int, converse: Callable[[Load], None]) -> None:
        self.going = True
        self.outcomes: Counter[str] = Counter()
        self._threads = [threading.Thread(target=converse, args=(self,), daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> Counter[str]:
        """What became of all of them."""
        self.going = False
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "a request was never answered"
        return self.outcomes


def commands(run: Callable[[str], int], threads: int) -> Load:
    """Commands over the sidecar's own socket, each with a connection of its own."""

    def converse(load: Load) -> None:
        while load.going:
            try:
                run(uuid.uuid4().hex)
                load.outcomes["placed"] += 1
            except OrchestratorError as error:
                load.outcomes[error.detail] += 1

    return Load(threads, converse)


def requests(port: int, token: str, sample: dict[str, Any], threads: int) -> Load:
    """HTTP requests over connections that are kept.

    A connection that was never answered on counts as not accepted; one that was, and on which the last answer did not
    announce its end, must answer the next request.
    """
    headers = {"Authorization": f"Bearer {token}"}

    def converse(load: Load) -> None:
        while load.going:
            try:
                connection = Connection(port)
            except OSError:
                load.outcomes["refused"] += 1
                return
            with connection:
                _keep_asking(load, connection)

    def _keep_asking(load: Load, connection: Connection) -> None:
        answered, closing = False, False
        while load.going and not closing:
            body = json.dumps({**sample, "run_id": uuid.uuid4().hex}).encode()
            try:
                answer = connection.ask(request("POST", "/tasks/analysis", body, headers))
            except (TimeoutError, EOFError, ConnectionError) as error:
                load.outcomes[f"lost: {error!r}" if answered else "not accepted"] += 1
                return
            answered, closing = True, answer.headers["connection"] == "close"
            load.outcomes[str(answer.status)] += 1

    return Load(threads, converse)
