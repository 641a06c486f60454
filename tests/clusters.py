"""The real servers: started when the first test needs them; absent, a reason to skip, or in CI to fail."""

from __future__ import annotations

import os

import pytest

from tests import cluster


def require_cluster() -> cluster.Cluster:
    """The running test cluster. Skips where it cannot run on this machine; with CI=true that is an error."""
    reason = cluster.missing()
    if reason and os.environ.get("CI") == "true":
        pytest.fail(f"CI must prove the drivers on real servers: {reason}")
    if reason:
        pytest.skip(reason)
    return cluster.up()
