"""functions.amqp.broker: the broker's URL and credentials from the environment, and what may be logged of them."""

from __future__ import annotations

import pytest

from functions.amqp.broker import read
from runner.errors import Malformed

URL = "amqp://u:secret@broker:5673/v?heartbeat=3"


def test_separate_credentials_replace_those_in_the_url() -> None:
    assert str(read({"ORCHESTRATOR_AMQP_URL": URL}).address) == URL
    access = read({"ORCHESTRATOR_AMQP_URL": URL, "ORCHESTRATOR_AMQP_PASSWORD": "other"})
    assert str(access.address) == "amqp://u:other@broker:5673/v?heartbeat=3"
    access = read({"ORCHESTRATOR_AMQP_URL": "amqp://broker/", "ORCHESTRATOR_AMQP_USERNAME": "u"})
    assert str(access.address) == "amqp://u@broker/"


def test_nothing_that_is_logged_has_a_credential() -> None:
    access = read({"ORCHESTRATOR_AMQP_URL": URL, "ORCHESTRATOR_AMQP_PASSWORD": "other"})
    assert access.loggable == "amqp://broker:5673/v"
    for shown in (repr(access), f"{access}", access.loggable):
        assert "secret" not in shown
        assert "other" not in shown


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "ORCHESTRATOR_AMQP_URL is required"),
        ({"URL": ""}, "ORCHESTRATOR_AMQP_URL is required"),
        ({"URL": "amqp://u:secret@broker:port/"}, "is no URL"),
        ({"URL": "http://u:secret@broker/"}, "must be amqp://"),
        ({"URL": "amqp:///v"}, "with a host"),
        ({"URL": "amqp://broker/", "CERTIFICATE_FILE": "/nowhere"}, "must be amqps://"),
        ({"URL": "amqps://broker/", "CA_FILE": "/nowhere"}, "ORCHESTRATOR_AMQP_CA_FILE"),
    ],
)
def test_a_wrong_variable_is_named_without_the_password(variables: dict[str, str], message: str) -> None:
    with pytest.raises(Malformed) as refused:
        read({f"ORCHESTRATOR_AMQP_{name}": value for name, value in variables.items()})
    assert message in refused.value.detail
    assert "secret" not in refused.value.detail


def test_a_plain_connection_has_no_tls_and_a_tls_one_verifies_the_broker() -> None:
    assert read({"ORCHESTRATOR_AMQP_URL": URL}).tls() is None
    context = read({"ORCHESTRATOR_AMQP_URL": "amqps://broker/"}).tls()
    assert context is not None
    assert context.check_hostname
