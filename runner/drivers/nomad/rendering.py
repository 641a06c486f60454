"""What the Nomad driver would write, as readable JSON: one object for each job, with its parts in the order of writing.

`Variable` is written first. `Job` is valid for Nomad's `/v1/jobs`, `/v1/validate/job` and for `nomad job run -json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from runner.config.types import Config
from runner.drivers.nomad.specification import namespace_of, specification
from runner.drivers.nomad.variable import closed_items, open_items, variable_path, with_cancellation
from runner.jobs import Cancellation, JobSpec
from runner.security.masking import MASK


def render(job: JobSpec, config: Config, values: Mapping[str, str] | None = None) -> str:
    """The job and its Variable. Secret values are masked unless `values` gives them."""
    shown = dict.fromkeys(job.secrets, MASK) if values is None else values
    namespace = namespace_of(config, job.pool)
    variable = _variable_object(job.name, namespace, open_items(job, shown))
    return _show({"Variable": variable, "Job": specification(job, config)})


def render_cancellation(cancellation: Cancellation, config: Config) -> str:
    """The tombstone that a late submit would find."""
    items = closed_items(with_cancellation(None, cancellation))
    return _show({"Variable": _variable_object(cancellation.name, namespace_of(config, config.default_pool), items)})


def _variable_object(name: str, namespace: str, items: dict[str, str]) -> dict[str, Any]:
    return {"Namespace": namespace, "Path": variable_path(name), "Items": items}


def _show(written: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(written), indent=2).decode() + "\n"
