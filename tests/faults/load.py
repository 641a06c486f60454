"""Load: clients that send requests without pause, until they are stopped or connections are refused."""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

from runner.errors import OrchestratorError
from tests.harness.wire import Connection, request


class Load:
    """Threads with one client each. `outcomes` counts the results of their requests."""

    def __init__(self, threads: int, converse: Callable[[Load], None]) -> None:
        self.running = True
        self.outcomes: Counter[str] = Counter()
        self._threads = [threading.Thread(target=converse, args=(self,), daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> Counter[str]:
        """Stop the clients and wait for their last requests. Returns the results of all requests."""
        self.running = False
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "a request was never answered"
        return self.outcomes


def commands(run: Callable[[str], int], threads: int) -> Load:
    """Commands to the sidecar's socket, each on a new connection."""

    def converse(load: Load) -> None:
        while load.running:
            try:
                run(uuid.uuid4().hex)
                load.outcomes["accepted"] += 1
            except OrchestratorError as error:
                load.outcomes[error.detail] += 1

    return Load(threads, converse)


def requests(port: int, token: str, sample: dict[str, Any], threads: int) -> Load:
    """HTTP requests on persistent connections.

    A connection that ends before its first answer counts as not accepted. After an answer without `Connection: close`,
    the server must answer the next request on the connection; otherwise the request counts as lost.
    """
    headers = {"Authorization": f"Bearer {token}"}

    def converse(load: Load) -> None:
        while load.running:
            try:
                connection = Connection(port)
            except OSError:
                load.outcomes["refused"] += 1
                return
            with connection:
                _keep_asking(load, connection)

    def _keep_asking(load: Load, connection: Connection) -> None:
        answered, closing = False, False
        while load.running and not closing:
            body = json.dumps({**sample, "run_id": uuid.uuid4().hex}).encode()
            try:
                answer = connection.ask(request("POST", "/tasks/analysis", body, headers))
            except (TimeoutError, EOFError, ConnectionError) as error:
                load.outcomes[f"lost: {error!r}" if answered else "not accepted"] += 1
                return
            answered, closing = True, answer.headers["connection"] == "close"
            load.outcomes[str(answer.status)] += 1

    return Load(threads, converse)
