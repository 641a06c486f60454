"""Progress on standard error: one line when a step begins, and one every 15 seconds until it ends."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_EVERY = 15.0  # seconds between two lines


def say(text: str) -> None:
    """Print one line of progress to standard error. Standard output is for results."""
    print(f"cluster: {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str, every: float = _EVERY) -> Iterator[None]:
    """Print `text` at the start and every `every` seconds; at the end, print a duration over 1 s."""
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
