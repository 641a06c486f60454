"""runner.runtime.concurrency: what it lets in, and what a thread of its own does for it."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from runner.runtime import concurrency
from tests.deadlines import within


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made


class TestAccept:
    def test_gives_who_is_there_and_else_nobody(self, listener: socket.socket) -> None:
        assert concurrency.accept(listener) is None
        with socket.create_connection(listener.getsockname()) as caller:
            accepted = concurrency.accept(listener)
            assert accepted is not None
            connection, address = accepted
            with connection:
                assert address == caller.getsockname()
        assert concurrency.accept(listener) is None

    @pytest.mark.parametrize(
        ("number", "said"),
        [
            (errno.EMFILE, "raise the limit on open files"),
            (errno.ENFILE, "raise the limit on open files"),
            (errno.ENOBUFS, "no connection could be accepted"),
            (errno.EPROTO, "no connection could be accepted"),
            (errno.ECONNABORTED, ""),
        ],
    )
    def test_survives_whatever_befalls_a_connection(
        self, number: int, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As accept(2) lists it."""
        paused: list[float] = []
        monkeypatch.setattr(time, "sleep", paused.append)

        class Failing:
            def accept(self) -> None:
                raise OSError(number, "so")

        assert concurrency.accept(Failing()) is None  # type: ignore[arg-type]
        assert (said in caplog.text, bool(caplog.text), bool(paused)) == (True, bool(said), bool(said))


class TestBegin:
    def test_gives_what_the_work_gives_as_often_as_one_asks(self) -> None:
        wait = concurrency.start_thread(threading.get_ident)
        assert wait(within(10)) == wait(within(10)) != threading.get_ident()

    def test_raises_what_the_work_raises(self) -> None:
        wait = concurrency.start_thread(lambda: {}["absent"])
        with pytest.raises(KeyError, match="absent"):
            wait(within(10))

    def test_ends_to_wait_when_it_is_time_and_not_to_work(self) -> None:
        go_on = threading.Event()
        wait = concurrency.start_thread(lambda: go_on.wait(20))
        with pytest.raises(TimeoutError):
            wait(within(0.05))
        with pytest.raises(TimeoutError):
            wait(within(-1))
        go_on.set()
        assert wait(within(10))
