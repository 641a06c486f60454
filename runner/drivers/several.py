"""Submitting the many jobs of one request, which may be a repeat of a request that was not completed.

A repeat must cost a cluster little for what exists. Where a cluster takes fewer creates before the deadline than the
request has jobs, a repeat that asks again for each of them by a create would get no further than the one before. So it
reads first, and then writes what is missing. Whether a request is a repeat is seen from its first job, which is created
first: a new request costs one read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runner.jobs import JobSpec, State
from runner.runtime.clock import Deadline

FEW = 8
"""Up to so many jobs are created without a read: their repeat costs at most so many creates."""

Submit = Callable[[JobSpec, Deadline], State]
"""See Driver.submit."""

AtOnce = Callable[[Sequence[Callable[[], None]]], object]
"""Carries out all steps, several at the same time. Raises the first error once those that are running have ended."""
