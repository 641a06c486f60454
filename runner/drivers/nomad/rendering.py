"""What the Nomad driver would write, as JSON to read: one object for each job, in the order that they are written in.

`Job` is what Nomad's `/v1/jobs` and `/v1/validate/job` take, and `nomad job run -json`; `Variable` comes before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from runner.config.types import Config
from runner.drivers.nomad import record as nomad_record
from runner.drivers.nomad.specification import namespace, specification
from runner.jobs import Cancellation, JobSpec

MASK = "***"


def render(job: JobSpec, config: Config, values: Mapping[str, str] | None = None) -> str:
    """The job and its Variable; the secrets' values masked unless they are given."""
    shown = dict.fromkeys(job.secrets, MASK) if values is None else values
    where = namespace(config, job.pool)
    variable = _variable(job.name, where, nomad_record.opened(job, shown))
    return _show({"Variable": variable, "Job": specification(job, config)})


def render_cancellation(cancellation: Cancellation, config: Config) -> str:
    """The Variable that a late submit would find."""
    items = nomad_record.closed(nomad_record.cancelled(None, cancellation))
    return _show({"Variable": _variable(cancellation.name, namespace(config, config.default_pool), items)})


def _variable(name: str, where: str, items: dict[str, str]) -> dict[str, Any]:
    return {"Namespace": where, "Path": nomad_record.path(name), "Items": items}


def _show(written: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(written), indent=2).decode() + "\n"
