"""How a process records: a Meter, which does nothing where metrics are off, and then imports nothing either."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from runner.runtime.metrics import files
from runner.runtime.metrics.definitions import Definition

log = logging.getLogger("orchestrator.metrics")


class Meter(Protocol):
    """Records values. The labels stand in the metric's order. Any number of threads may call it; it never raises."""

    def count(self, metric: Definition, *labels: str) -> None:
        """One more."""

    def observe(self, metric: Definition, value: float, *labels: str) -> None:
        """A value of a histogram."""

    def set(self, metric: Definition, value: float, *labels: str) -> None:
        """What a gauge shows from now on."""

    def add(self, metric: Definition, value: float, *labels: str) -> None:
        """What a gauge shows more from now on; negative: less."""


class NoMeter:
    """Records nothing."""

    def __repr__(self) -> str:
        return "NoMeter()"

    def count(self, metric: Definition, *labels: str) -> None:
        """See Meter."""

    def observe(self, metric: Definition, value: float, *labels: str) -> None:
        """See Meter."""

    def set(self, metric: Definition, value: float, *labels: str) -> None:
        """See Meter."""

    def add(self, metric: Definition, value: float, *labels: str) -> None:
        """See Meter."""


class Recorder:
    """Records by prometheus_client: in a registry, or, without one, in this process's files."""

    def __init__(self, registry: Any = None) -> None:
        self._registry = registry
        self._families: dict[str, Any] = {}
        self._series: dict[tuple[str, ...], Any] = {}
        self._failed = False

    def __repr__(self) -> str:
        return f"Recorder({len(self._series)} series)"

    def count(self, metric: Definition, *labels: str) -> None:
        """See Meter."""
        if series := self._of(metric, labels):
            series.inc()

    def observe(self, metric: Definition, value: float, *labels: str) -> None:
        """See Meter."""
        if series := self._of(metric, labels):
            series.observe(value)

    def set(self, metric: Definition, value: float, *labels: str) -> None:
        """See Meter."""
        if series := self._of(metric, labels):
            series.set(value)

    def add(self, metric: Definition, value: float, *labels: str) -> None:
        """See Meter."""
        if series := self._of(metric, labels):
            series.inc(value)

    def _of(self, metric: Definition, labels: tuple[str, ...]) -> Any:
        """The series. Made once: its lookup in the library costs more than counting. None if it cannot be written."""
        key = (metric.name, *labels)
        if (series := self._series.get(key)) is None:
            try:
                family = self._families.get(metric.name) or self._make(metric)
                self._families[metric.name] = family
                series = self._series[key] = family.labels(*labels) if labels else family
            except OSError as error:
                self._report(error)
        return series

    def _make(self, metric: Definition) -> Any:
        import prometheus_client as library

        if metric.kind == "counter":
            return library.Counter(metric.name, metric.help, metric.labels, registry=self._registry)
        if metric.kind == "histogram":
            return library.Histogram(
                metric.name, metric.help, metric.labels, registry=self._registry, buckets=metric.buckets
            )
        mode: Any = metric.merge or "all"
        return library.Gauge(metric.name, metric.help, metric.labels, registry=self._registry, multiprocess_mode=mode)

    def _report(self, error: OSError) -> None:
        if not self._failed:
            log.error("not all metrics can be recorded: %s; make room in %s", error, os.environ.get(files.VARIABLE))
        self._failed = True


def meter(environ: Mapping[str, str], socket: str = "") -> Meter:
    """What this process records with. Call it after the fork, once.

    Metrics are recorded in the directory that the environment names; without one, in the directory beside the sidecar's
    socket, if it exists. Else metrics are off.
    """
    named = environ.get(files.VARIABLE, "")
    directory = Path(named) if named else files.beside(socket)
    if not (named or socket) or not directory.is_dir():
        return NoMeter()
    try:
        _record_in(directory)
    except OSError as error:
        log.error("no metrics are recorded: %s; make %s writable for this user", error, directory)
        return NoMeter()
    return Recorder()


def _record_in(directory: Path) -> None:
    """Have prometheus_client write into the directory, under this process's number instead of its id."""
    from prometheus_client import values

    make: Any = values.MultiProcessValue
    values.ValueClass = make(files.RecordingProcess(directory).number)
    os.environ[files.VARIABLE] = str(directory)
