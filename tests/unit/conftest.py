"""What the unit tests share besides: how long hypothesis searches, and the six request types."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from runner.request_types import REQUEST_TYPES

# No deadline for a single example: on a loaded machine it would only measure the machine.
settings.register_profile("quick", deadline=None, max_examples=25, print_blob=True)
settings.register_profile("thorough", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(params=sorted(REQUEST_TYPES))
def request_type(request: pytest.FixtureRequest) -> str:
    """Each request type in turn."""
    name: str = request.param
    return name
