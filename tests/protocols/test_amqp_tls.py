"""amqps with a real broker: which certificates are accepted, and where credentials are never shown."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from examples.broker import Broker
from tests.cluster.certificates import Authority, Pair
from tests.harness.processes import Processes, eventually, free_port
from tests.protocols.amqp_stand import Stand

pytestmark = pytest.mark.timeout(240)


class Guarded(msgspec.Struct):
    """A broker that accepts TLS with certificates of one authority, and plain connections from atlas."""

    broker: Broker
    url: str
    authority: Authority
    client: Pair

    def variables(self, **more: str) -> dict[str, str]:
        """The variables of a consumer that is accepted."""
        given = {
            "URL": self.url,
            "USERNAME": "guest",
            "PASSWORD": "guest",
            "CA_FILE": str(self.authority.pair.certificate),
            "CERTIFICATE_FILE": str(self.client.certificate),
            "KEY_FILE": str(self.client.key),
        }
        return given | more


@pytest.fixture(scope="module")
def guarded(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    directory = tmp_path_factory.mktemp("tls")  # the fixture `broker` installs the package
    authority = Authority(directory / "pki", "tests")
    authority.create()
    server, port = authority.issue("broker", hosts=("127.0.0.1",)), free_port()
    settings = f"""
        listeners.ssl.default = 127.0.0.1:{port}
        ssl_options.cacertfile = {authority.pair.certificate}
        ssl_options.certfile = {server.certificate}
        ssl_options.keyfile = {server.key}
        ssl_options.verify = verify_peer
        ssl_options.fail_if_no_peer_cert = true
    """
    own = Broker(directory / "broker", "\n".join(line.strip() for line in settings.splitlines()))
    try:
        own.start()
        yield Guarded(own, f"amqps://127.0.0.1:{port}/", authority, authority.issue("orchestrator"))
    finally:
        own.stop()


@pytest.fixture
def stand(guarded: Guarded, processes: Processes, tmp_path: Path, write_config: Callable[..., Path]) -> Stand:
    stand = Stand(guarded.broker, processes, write_config(tmp_path).parent)
    stand.start_sidecar()
    return stand


def test_messages_are_consumed_over_tls_with_credentials_from_the_environment(
    guarded: Guarded, stand: Stand, sample: Callable[[str], dict[str, Any]]
) -> None:
    consumer = stand.consumer(access=guarded.variables())
    stand.publish([json.dumps(sample("analysis") | {"run_id": str(uuid.uuid4())}).encode()])
    eventually(lambda: len(stand.jobs()) == 1, "the job exists")
    assert "guest" not in consumer.said()
    arguments = Path(f"/proc/{consumer.pid}/cmdline").read_text()
    assert "guest" not in arguments


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("CA_FILE", "", "certificate verify failed"),
        ("CERTIFICATE_FILE", "", "certificate required"),
        ("PASSWORD", "wrong", "ACCESS_REFUSED"),
    ],
)
def test_a_refused_connection_is_logged_with_its_reason_and_tried_again(
    guarded: Guarded, stand: Stand, name: str, given: str, words: str
) -> None:
    consumer = stand.consumer(ready=False, access=guarded.variables(**{name: given}))
    eventually(lambda: consumer.said().lower().count(words.lower()) >= 2, f"it says {words}; see {consumer.log}", 30)
    assert consumer.runs()
    assert '"message":"ready"' not in consumer.said()
    assert "guest" not in consumer.said()


def test_a_certificate_of_another_authority_is_refused_in_the_handshake(
    guarded: Guarded, stand: Stand, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger", "strangers")
    stranger.create()
    shown = stranger.issue("orchestrator")
    more = {"CERTIFICATE_FILE": str(shown.certificate), "KEY_FILE": str(shown.key)}
    consumer = stand.consumer(ready=False, access=guarded.variables(**more))
    eventually(lambda: "unknown ca" in consumer.said().lower().replace("_", " "), f"refused; see {consumer.log}", 30)
    assert consumer.runs()
    assert '"message":"ready"' not in consumer.said()
