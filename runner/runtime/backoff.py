"""How long to wait before the next attempt."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from runner.runtime.clock import Deadline


class Backoff:
    """Pauses that double with each failure, from `first` to `longest` seconds.

    With a `random` (a function that gives a number in [0, 1), like `Random().random`) each pause is drawn evenly
    between half of that and all of it, so that processes which failed at the same time do not retry at the same time.
    """

    def __init__(self, first: float, longest: float, random: Callable[[], float] | None = None) -> None:
        self._first = min(first, longest)
        self._longest = longest
        self._random = random
        self._next = self._first

    def __repr__(self) -> str:
        return f"Backoff(next={self._next:g} s, longest={self._longest:g} s)"

    def next(self) -> float:
        """Seconds to wait after one more failure. Bounded however many failures there are."""
        pause = self._next
        self._next = min(pause * 2, self._longest)
        return pause if self._random is None else pause * (0.5 + self._random() / 2)

    def reset(self) -> None:
        """Call this after a success: the next pause is `first` again."""
        self._next = self._first


def attempts(deadline: Deadline, backoff: Backoff) -> Iterator[None]:
    """Yield for each attempt, with a pause between two. Ends when the next pause would reach the deadline."""
    while True:
        yield
        pause = backoff.next()
        if deadline.left <= pause:
            return
        deadline.clock.sleep(pause)
