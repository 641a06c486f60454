"""What the person who waits gets to see: one line when a step begins, one a while until it ends."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_EVERY = 15.0  # seconds between two signs of life


def say(text: str) -> None:
    """One line of progress; on standard error, since standard output is for results."""
    print(f"cluster: {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str, every: float = _EVERY) -> Iterator[None]:
    """Say `text`, again every `every` seconds, and how long it took once that is worth a line."""
    begun, done = time.monotonic(), threading.Event()

    def tick() -> None:
        while not done.wait(every):
            say(f"{text} ... {time.monotonic() - begun:.0f} s")

    say(text)
    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        done.set()
        ticker.join()
    if time.monotonic() - begun >= 1:
        say(f"{text}: done in {time.monotonic() - begun:.0f} s")
