"""Progress on standard error: a line when a step begins, and one every 15 s until it ends."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_EVERY = 15.0  # seconds between two lines


def report(text: str) -> None:
    """Print one line of progress on standard error. Standard output is for results."""
    print(f"cluster: {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str, every: float = _EVERY) -> Iterator[None]:
    """Report `text` now and every `every` seconds, and the duration at the end if it is 1 s or more."""
    begun, done = time.monotonic(), threading.Event()

    def tick() -> None:
        while not done.wait(every):
            report(f"{text} ... {time.monotonic() - begun:.0f} s")

    report(text)
    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        done.set()
        ticker.join()
    if time.monotonic() - begun >= 1:
        report(f"{text}: done in {time.monotonic() - begun:.0f} s")
