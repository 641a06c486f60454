"""runner.runtime.concurrency: accepting connections, and work in a thread of its own."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from runner.runtime import concurrency
from tests.harness.deadlines import within


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made


class TestAccept:
    def test_gives_the_next_connection_or_none(self, listener: socket.socket) -> None:
        assert concurrency.accept(listener) is None
        with socket.create_connection(listener.getsockname()) as caller:
            accepted = concurrency.accept(listener)
            assert accepted is not None
            connection, address = accepted
            with connection:
                assert address == caller.getsockname()
        assert concurrency.accept(listener) is None

    @pytest.mark.parametrize(
        ("number", "logged"),
        [
            (errno.EMFILE, "raise the limit on open files"),
            (errno.ENFILE, "raise the limit on open files"),
            (errno.ENOBUFS, "no connection could be accepted"),
            (errno.EPROTO, "no connection could be accepted"),
            (errno.ECONNABORTED, ""),
        ],
    )
    def test_an_error_of_accept_is_logged_and_followed_by_a_pause(
        self, number: int, logged: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The errors that accept(2) lists; an aborted connection is neither logged nor followed by a pause."""
        paused: list[float] = []
        monkeypatch.setattr(time, "sleep", paused.append)

        class Failing:
            def accept(self) -> None:
                raise OSError(number, "so")

        assert concurrency.accept(Failing()) is None  # type: ignore[arg-type]
        assert (logged in caplog.text, bool(caplog.text), bool(paused)) == (True, bool(logged), bool(logged))


class TestStartThread:
    def test_gives_the_result_of_the_work_more_than_once(self) -> None:
        wait = concurrency.start_thread(threading.get_ident)
        assert wait(within(10)) == wait(within(10)) != threading.get_ident()

    def test_raises_what_the_work_raises(self) -> None:
        wait = concurrency.start_thread(lambda: {}["absent"])
        with pytest.raises(KeyError, match="absent"):
            wait(within(10))

    def test_the_wait_ends_at_the_deadline_and_the_work_goes_on(self) -> None:
        go_on = threading.Event()
        wait = concurrency.start_thread(lambda: go_on.wait(20))
        with pytest.raises(TimeoutError):
            wait(within(0.05))
        with pytest.raises(TimeoutError):
            wait(within(-1))
        go_on.set()
        assert wait(within(10))
