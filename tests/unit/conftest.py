"""What the unit tests share besides: how hypothesis searches, and the six request types."""

from __future__ import annotations

import pytest
from hypothesis import settings

from runner.payloads import REQUEST_TYPES

# No deadline for a single example: on a loaded machine it would only measure the machine.
settings.register_profile("unit", deadline=None, max_examples=100, print_blob=True)
settings.load_profile("unit")


@pytest.fixture(params=sorted(REQUEST_TYPES))
def request_type(request: pytest.FixtureRequest) -> str:
    """Each request type in turn."""
    name: str = request.param
    return name
