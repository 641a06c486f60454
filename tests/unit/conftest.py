"""Hypothesis' profiles, and a fixture for the six request types."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from runner.request_types import REQUEST_TYPES

# No deadline for a single example: on a loaded machine it would fail for the load alone.
BUSY = [HealthCheck.too_slow]  # how fast a machine makes its inputs says nothing about the code
settings.register_profile("quick", deadline=None, max_examples=25, print_blob=True, suppress_health_check=BUSY)
settings.register_profile("thorough", deadline=None, max_examples=2000, suppress_health_check=BUSY)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(params=sorted(REQUEST_TYPES))
def request_type(request: pytest.FixtureRequest) -> str:
    """Each request type, one per run of the test."""
    name: str = request.param
    return name
