"""docs/metrics.md, made of the table of metrics: `python -m runner.runtime.metrics.document > docs/metrics.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from runner.runtime.metrics.definitions import METRICS, Definition
from runner.runtime.metrics.labels import SERVER_CODES, VERBS

HEAD = """\
# Metrics

With `metrics.bind` in the configuration, one process of `up`, `serve` or `track` serves what all processes around one
sidecar record:

| path | answer |
|---|---|
| `/metrics` | all metrics, as Prometheus reads them |
| `/livez` | 200 while that process runs |
| `/readyz` | 200 if every part is ready, else 503; by part `ok`, `waits` (another tracker leads), or what is wrong |

Functions that are started alone (`gunicorn functions.analysis:app`) record in the directory beside the sidecar's socket
(`SOCKET.metrics`), if it exists when they start; `PROMETHEUS_MULTIPROC_DIR` names another one. Where no `serve` runs
beside them, `python -m runner metrics --bind 127.0.0.1:9090 --socket SOCKET` serves it. The endpoint has no
authentication: bind it to an address that only Prometheus reaches.

[`deploy/monitoring`](../deploy/monitoring) has alerts and a Grafana dashboard. Each alert links to the runbook, which
says what to do about it.

This file is made from the code: `make metrics`.

| metric | kind | labels | meaning |
|---|---|---|---|
"""

LABELS = {
    "request_type": "a request type, like `analysis_run`; `other` for a request of none",
    "protocol": "`http`, `grpc` or `amqp`",
    "code": (
        "of a request: `accepted`, a code of the table of errors ([HTTP](http.md)), or one of "
        + ", ".join(f"`{code}`" for code in SERVER_CODES)
        + "; of a request to a cluster: the status of the answer, or `none`"
    ),
    "driver": "`kubernetes`, `nomad`, `local`, `memory` or `printer`",
    "pool": "a pool of the configuration; `other` for a job of a pool that is no longer in it",
    "phase": "the state that `jobs list` shows: `waiting`, `running`, `succeeded`, `failed` or `cancelled`",
    "reason": "a reason of [outcomes.md](outcomes.md); of a wait also `held` and `starting`; `none` while a job runs",
    "status": "the HTTP status of atlas's answer; `none` without an answer",
    "verb": ", ".join(f"`{verb}`" for verb in VERBS),
    "version": "the installed release",
}
"""The values that each label may have. A value of no known set becomes `other`."""


def document() -> str:
    """The whole file."""
    rows = "".join(map(_row, METRICS))
    values = "".join(f"| `{label}` | {meaning} |\n" for label, meaning in LABELS.items())
    return (
        f"{HEAD}{rows}\n## Labels\n\nNo label has a run's id or a job's name, so the number of series is bounded by the"
        f" configuration. A value of no\nknown set becomes `other`.\n\n| label | values |\n|---|---|\n{values}"
        f"\n## Bounds of the histograms\n\n| metric | seconds |\n|---|---|\n{''.join(_bounds())}"
    )


def _row(metric: Definition) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |\n"


def _bounds() -> Iterator[str]:
    for metric in METRICS:
        if metric.buckets:
            yield f"| `{metric.name}` | {', '.join(f'{bound:g}' for bound in metric.buckets)} |\n"


if __name__ == "__main__":
    sys.stdout.write(document())
