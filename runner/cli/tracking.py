"""The tracker's process: its signals, its heartbeat, and its new start on SIGHUP."""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable

from runner import composition
from runner.config.types import Config
from runner.errors import OrchestratorError
from runner.runtime import logs
from runner.tracker.health import HEALTH_VARIABLE, Heartbeat

log = logging.getLogger("orchestrator.tracker")


def run(load: Callable[[], Config], changed: Callable[[], Config]) -> None:
    """Track until SIGTERM or SIGINT. On SIGHUP, start this process again if `changed` raises no OrchestratorError."""
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: signals.put(received))
    config = load()
    logs.configure(config.logs.level)
    stop, again = threading.Event(), threading.Event()
    threading.Thread(target=_obey, args=(signals, changed, stop, again), daemon=True).start()
    outside = composition.system(config.telemetry)
    beat = Heartbeat(os.environ.get(HEALTH_VARIABLE, ""), outside.clock).beat
    composition.tracker(config, outside).run(stop, beat)
    outside.tracer.close()
    if again.is_set():
        _start_again()


def _obey(
    signals: queue.SimpleQueue[int], changed: Callable[[], Config], stop: threading.Event, again: threading.Event
) -> None:
    """Signals set `stop`, and `again` too if the process is to start again. A later SIGTERM still ends it."""
    while signals.get() == signal.SIGHUP:
        try:
            changed()
        except OrchestratorError as error:
            log.error("the configuration was not reread: %s; the tracker runs on unchanged", error.detail)
        except Exception:
            log.exception("the configuration was not reread: no tracker can be built with it; this one runs on")
        else:
            again.set()
            stop.set()
    again.clear()
    stop.set()


def _start_again() -> None:
    """Replace this process by the same command (execve(2)): no thread or connection of the old configuration stays."""
    log.info("the configuration was reread; the tracker starts again")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the new program's handler is there; it reads the file anyway
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  (no shell is wanted)
