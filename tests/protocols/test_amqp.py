"""The RabbitMQ consumer with a real broker: every message is accepted once, delayed, or a dead letter; none is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pika
import pytest

from examples.broker import Broker
from runner.payloads import MAX_BODY
from tests.harness.processes import Process, Processes, eventually
from tests.protocols.amqp_stand import TYPES, Stand

pytestmark = pytest.mark.timeout(240)

VCS = {"remote_url": "https://example.org/a/b.git", "checkout_oid": "7d8dd9f8f0b1d1c7aaafda6f4adde8ca13db185c"}
SIZES = {"version": "dev", "cpu_limit": "100", "memory_limit": "64"}


@pytest.fixture
def stand(broker: Broker, processes: Processes, tmp_path: Path, write_config: Callable[..., Path]) -> Stand:
    """With the memory driver."""
    stand = Stand(broker, processes, write_config(tmp_path).parent)
    stand.start_sidecar()
    return stand


@pytest.fixture
def obedient(broker: Broker, processes: Processes, tmp_path: Path, write_config: Callable[..., Path]) -> Stand:
    """With a sidecar that behaves as a request's run id says."""
    stand = Stand(broker, processes, write_config(tmp_path).parent, "tests.harness.obedient_sidecar")
    stand.start_sidecar()
    return stand


@pytest.fixture
def analysis(sample: Callable[[str], dict[str, Any]]) -> Callable[..., bytes]:
    """A request with a new run id."""

    def make(run_id: str = "", **fields: Any) -> bytes:
        return json.dumps(sample("analysis") | {"run_id": run_id or str(uuid.uuid4())} | fields).encode()

    return make


def request(request_type: str, run_id: str, sample: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    run = {"run_id": run_id, "run_serial": "0"}
    transformer = run | {"vcs_meta": VCS, "transformer": {"command": "x", "meta": SIZES}}
    return {
        "analysis_run": sample("analysis") | run,
        "autofix_run": sample("autofix") | run,
        "transformer_run": transformer,
        "transforer_run": transformer,
        "ssh_verify_run": run | {"ssh_meta": {"remote_url": "git@example.org:a/b.git"}},
        "cancel_check_run": run | {"analysis_meta": {**run, "check_seq": "1"}},
        "patcher_run": run | {"vcs_meta": VCS},
    }[request_type]


def envelope(payload: Any) -> bytes:
    return json.dumps({"id": str(uuid.uuid4()), "task": "atlas.run", "kwargs": payload, "retries": 0}).encode()


def accepted(stand: Stand, count: int, seconds: float = 60) -> None:
    eventually(lambda: len(stand.jobs()) >= count, f"{count} jobs exist", seconds)


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_every_request_type_is_accepted_in_both_shapes(
    stand: Stand, sample: Callable[[str], dict[str, Any]], queue_type: str
) -> None:
    stand.consumer(queueType=queue_type)
    for request_type in TYPES:
        for shape in (lambda payload: json.dumps(payload).encode(), envelope):
            stand.publish([shape(request(request_type, str(uuid.uuid4()), sample))], request_type)
    eventually(lambda: len(stand.log_command()) == 2 * len(TYPES), "all are answered")
    assert {line["message"] for line in stand.log_command()} == {"accepted"}
    taken = [line["request_type"] for line in stand.log_command()]
    assert {name: taken.count(name) for name in taken} == {
        **{name: 2 for name in TYPES if name != "transforer_run"},
        "transformer_run": 4,
    }
    eventually(lambda: stand.waiting() == 0, "all are acknowledged")
    assert stand.depth(stand.dead_letters) == 0


BAD: dict[str, tuple[Any, str]] = {
    "empty": (b"", "malformed"),
    "cut off": (b'{"run_id": "x"', "malformed"),
    "not UTF-8": (b"\xff\xfe{}", "malformed"),
    "too deep": (b"[" * 65 + b"]" * 65, "malformed"),
    "a list": (b"[]", "invalid"),
    "null": (b"null", "invalid"),
    "an empty object": (b"{}", "invalid"),
    "an empty envelope": (b'{"id": "1", "task": "t", "kwargs": {}, "retries": 0}', "invalid"),
    "kwargs that are no object": (b'{"id": "1", "task": "t", "kwargs": 3, "retries": 0}', "invalid"),
    "kwargs that are null": (b'{"id": "1", "task": "t", "kwargs": null, "retries": 0}', "invalid"),
    "too large": (b"x" * (MAX_BODY + 1), "too_large"),
}


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_a_message_that_can_never_succeed_becomes_a_dead_letter_and_blocks_no_other(
    stand: Stand, analysis: Callable[..., bytes], queue_type: str
) -> None:
    stand.consumer(queueType=queue_type, prefetch=2)
    for body, _ in BAD.values():
        stand.publish([body])
    stand.publish([analysis()])
    accepted(stand, 1)
    dead = {}
    for _ in BAD:
        headers, _, body = stand.dead_letter()
        dead[body] = headers["x-orchestrator-code"]
    assert dead == dict(BAD.values())
    assert stand.waiting() == 0


def test_a_dead_letter_has_the_error_and_the_original_body_and_properties(
    stand: Stand, analysis: Callable[..., bytes]
) -> None:
    stand.consumer()
    body = analysis(run_id="../x", run_serial="one")
    stand.publish(
        [body],
        headers={"from": "atlas", "list": [1, {"a": None}], "CC": ["elsewhere"], "x-orchestrator-attempts": "many"},
        message_id="trace-1",
        content_type="application/json",
        correlation_id="c",
        app_id="atlas",
        expiration="60000",
        user_id="guest",
        timestamp=1700000000,
        type="t",
    )
    headers, properties, received = stand.dead_letter()
    assert received == body
    assert headers["x-orchestrator-code"] == "invalid"
    assert {each["pointer"] for each in headers["x-orchestrator-errors"]} == {"/run_id", "/run_serial"}
    assert "/run_id" in headers["x-orchestrator-detail"]
    assert headers["x-orchestrator-queue"] == stand.queue()
    assert abs(headers["x-orchestrator-first-seen"] - time.time()) < 30
    assert headers["x-orchestrator-attempts"] == 1
    assert (headers["from"], headers["list"]) == ("atlas", [1, {"a": None}])
    assert "CC" not in headers
    kept = (properties.message_id, properties.content_type, properties.correlation_id, properties.app_id)
    assert kept == ("trace-1", "application/json", "c", "atlas")
    assert (properties.delivery_mode, properties.expiration, properties.user_id) == (2, None, None)


def test_headers_that_do_not_fit_a_frame_are_left_out(stand: Stand) -> None:
    stand.consumer()
    stand.publish([b"{"], headers={f"h{number}": "x" * 1006 for number in range(129)})
    headers, _, body = stand.dead_letter()
    assert (body, headers["x-orchestrator-code"]) == (b"{", "malformed")
    assert "h1" not in headers


@pytest.mark.parametrize("unreadable", [{"content_type": b"\xff"}, {"headers": {b"\xff": 1}}, {"timestamp": 2**63}])
def test_properties_that_cannot_be_decoded_block_no_message(
    stand: Stand, analysis: Callable[..., bytes], unreadable: dict[str, Any]
) -> None:
    stand.consumer()
    stand.publish([analysis(), b"{"], **unreadable)
    accepted(stand, 1)
    assert stand.dead_letter()[2] == b"{"


def test_messages_with_the_same_id_are_all_kept(stand: Stand) -> None:
    stand.consumer()
    stand.publish([b"{%d" % number for number in range(50)], message_id="the-same")
    assert len({stand.dead_letter()[2] for _ in range(50)}) == 50


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_a_message_that_may_succeed_later_is_delayed_and_tried_again(
    obedient: Stand, analysis: Callable[..., bytes], queue_type: str
) -> None:
    consumer = obedient.consumer(queueType=queue_type)
    for code in ("busy", "unavailable", "timeout"):
        obedient.publish([analysis(f"raise-{code}-x")])
    time.sleep(8)  # long enough to notice a busy loop
    tried = [line["message"] for line in obedient.log_command()]
    assert {code for code in tried if 2 <= tried.count(code) <= 9} == {"busy", "unavailable", "timeout"}
    consumer.signal(signal.SIGTERM)
    assert consumer.ended() == 0
    eventually(lambda: obedient.depth(obedient.queue()) == 3, "all three are back in their queue", 10)
    headers, _, _ = obedient.take(obedient.queue()) or ({}, None, b"")
    assert headers["x-orchestrator-attempts"] >= 2
    assert obedient.waiting() == 2  # none was duplicated
    assert obedient.depth(obedient.dead_letters) == 0


def test_an_internal_error_is_tried_five_times_more(obedient: Stand, analysis: Callable[..., bytes]) -> None:
    obedient.consumer(delays=[1])
    obedient.publish([analysis("raise-defect-x")])
    headers = eventually(lambda: obedient.take(obedient.dead_letters), "it is a dead letter", 40)[0]  # type: ignore[index]
    assert (headers["x-orchestrator-code"], headers["x-orchestrator-defects"]) == ("internal", 6)
    assert len(obedient.log_command()) == 6


def test_a_message_that_came_back_too_often_is_a_dead_letter(stand: Stand, analysis: Callable[..., bytes]) -> None:
    """The message itself may end the process that has it in flight."""
    body = analysis()
    consumer = stand.consumer()
    stand.publish([body], headers={"x-orchestrator-returns": 11})
    headers, _, received = stand.dead_letter()
    assert (received, headers["x-orchestrator-code"]) == (body, "internal")
    assert stand.jobs() == {}
    assert consumer.runs()


def test_broker_killed_and_restarted_under_load(stand: Stand, analysis: Callable[..., bytes]) -> None:
    stand.consumer(ready=True, queueType="quorum", threads=4)
    stand.publish([analysis() for _ in range(1500)])
    accepted(stand, 20)
    for _ in range(2):
        stand.broker.restart()
        accepted(stand, min(1500, len(stand.jobs()) + 100))
    accepted(stand, 1500, 60)
    eventually(lambda: stand.waiting() == 0, "all are acknowledged", 30)
    assert stand.jobs().total() == 1500
    assert stand.depth(stand.dead_letters) == 0


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_broker_killed_between_create_and_ack_makes_no_second_job(
    obedient: Stand, analysis: Callable[..., bytes], queue_type: str
) -> None:
    obedient.consumer(queueType=queue_type)
    obedient.publish([analysis(f"wait-1500-{number}") for number in range(8)])
    eventually(lambda: obedient.depth(obedient.queue()) == 0, "all are in flight")
    obedient.broker.kill()
    accepted(obedient, 8)
    obedient.broker.start()
    eventually(lambda: obedient.jobs("exists").total() >= 8, "all came again", 60)
    eventually(lambda: obedient.waiting() == 0, "all are acknowledged", 30)
    assert obedient.jobs().total() == 8


def test_connection_closed_by_an_operator(stand: Stand, analysis: Callable[..., bytes]) -> None:
    stand.consumer()
    stand.publish([analysis() for _ in range(300)])
    stand.broker.control("close_all_connections", "maintenance")
    stand.publish([analysis() for _ in range(100)])
    accepted(stand, 400)
    eventually(lambda: stand.waiting() == 0, "all are acknowledged", 30)
    assert stand.jobs().total() == 400


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_a_deleted_queue_is_declared_and_consumed_again(
    stand: Stand, analysis: Callable[..., bytes], queue_type: str
) -> None:
    consumer = stand.consumer(queueType=queue_type)
    with stand.channel() as channel:
        channel.queue_delete(stand.queue())
    again = f'"consuming {stand.queue()}"'
    eventually(lambda: consumer.said().count(again) == 2, "it is there again, bound and consumed", 30)
    stand.publish([analysis()])
    accepted(stand, 1)


def test_deleted_delay_and_dead_letter_queues_are_declared_again_and_nothing_is_lost(stand: Stand) -> None:
    stand.consumer()
    with stand.channel() as channel:
        channel.queue_delete(stand.dead_letters)
        channel.exchange_delete(stand.dead_letters)
    stand.publish([b"{"])
    assert eventually(lambda: stand.depth(stand.dead_letters) == 1, "the dead letter is there", 30)


def test_a_message_whose_queue_is_deleted_during_its_delay_is_a_dead_letter(
    obedient: Stand, analysis: Callable[..., bytes]
) -> None:
    consumer = obedient.consumer(delays=[2])
    obedient.publish([analysis("raise-busy-x")])
    eventually(lambda: obedient.depth(f"{obedient.exchange}.delay.2") == 1, "it waits")
    consumer.signal(signal.SIGKILL)
    with obedient.channel() as channel:
        channel.queue_delete(obedient.queue())
    headers, _, _ = obedient.dead_letter()
    assert (headers["x-orchestrator-code"], headers["x-orchestrator-queue"]) == ("busy", obedient.queue())


def test_in_a_memory_alarm_consuming_goes_on_and_failures_wait(stand: Stand, analysis: Callable[..., bytes]) -> None:
    stand.consumer().end()  # it has made everything on the broker
    stand.publish([b"{", *(analysis() for _ in range(300)), b"{"])
    stand.broker.control("set_vm_memory_high_watermark", "0.000001")
    try:
        stand.consumer()
        accepted(stand, 300)
        assert stand.depth(stand.dead_letters) <= 1  # the first publishing is what the broker stops
    finally:
        stand.broker.control("set_vm_memory_high_watermark", "0.4")
    eventually(lambda: stand.depth(stand.dead_letters) == 2, "both dead letters are there", 30)
    eventually(lambda: stand.waiting() == 0, "all are acknowledged")
    assert stand.jobs().total() == 300


def resident_mib(pid: int) -> float:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


def test_with_a_backlog_of_100000_memory_stays_flat(stand: Stand, sample: Callable[[str], dict[str, Any]]) -> None:
    stand.consumer().end()
    before, after = json.dumps(sample("analysis") | {"run_id": "RUN-ID"}).encode().split(b"RUN-ID")
    with stand.channel() as channel:
        for number in range(100_000):
            body = before + b"backlog-%d" % number + after
            channel.basic_publish(stand.exchange, "analysis_run", body, pika.BasicProperties(delivery_mode=2))
    assert eventually(lambda: stand.depth(stand.queue()) >= 100_000, "the backlog is there", 60)
    consumer = stand.consumer()
    accepted(stand, 2000)
    seen = [resident_mib(consumer.pid)]
    until = time.monotonic() + 30
    while time.monotonic() < until and stand.depth(stand.queue()) > 0:
        seen.append(resident_mib(consumer.pid))
        time.sleep(0.5)
    done = len(stand.jobs())
    print(f"{done} of 100000 consumed; resident {min(seen):.1f} to {max(seen):.1f} MiB")
    assert max(seen) - min(seen) <= 20
    assert done > 5000


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_consumers_killed_at_random_lose_and_duplicate_no_message(
    stand: Stand, analysis: Callable[..., bytes], queue_type: str
) -> None:
    stand.consumer(queueType=queue_type).end()
    stand.publish([analysis() for _ in range(2000)])
    rng = random.Random(7)
    kills = 0

    def start() -> Process:
        return stand.consumer(ready=False, queueType=queue_type)

    consumer = start()
    while len(stand.jobs()) < 2000 and kills < 12:
        before = len(stand.jobs())
        eventually(lambda: len(stand.jobs()) > before + rng.randint(0, 100), "more are accepted", 30)  # noqa: B023
        time.sleep(rng.random() * 0.05)
        consumer.signal(signal.SIGKILL)
        consumer.ended()
        kills += 1
        consumer = start()
    accepted(stand, 2000)
    eventually(lambda: stand.waiting() == 0, "all are acknowledged", 30)
    print(f"{kills} kills, {stand.jobs('exists').total()} messages came twice")
    assert kills >= 5
    assert (len(stand.jobs()), stand.jobs().total()) == (2000, 2000)
    assert stand.depth(stand.dead_letters) == 0


def test_while_the_sidecar_is_down_messages_wait(stand: Stand, analysis: Callable[..., bytes]) -> None:
    consumer = stand.consumer()
    stand.sidecars[0].end()
    stand.publish([analysis() for _ in range(500)])
    time.sleep(5)
    waits = consumer.said().count("a message waits")
    cpu = cpu_seconds(consumer.pid)
    time.sleep(2)
    assert waits <= 40  # those that were in flight, not the backlog
    assert cpu_seconds(consumer.pid) - cpu < 0.6
    assert stand.waiting() >= 400
    stand.start_sidecar()
    accepted(stand, 500)
    eventually(lambda: stand.waiting() == 0, "all are acknowledged", 30)
    assert stand.jobs().total() == 500
    assert stand.depth(stand.dead_letters) == 0


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_sigterm_finishes_messages_in_flight_and_leaves_the_rest(
    obedient: Stand, analysis: Callable[..., bytes]
) -> None:
    consumer = obedient.consumer(threads=4, prefetch=8)
    obedient.publish([analysis(f"wait-500-{number}") for number in range(40)])
    accepted(obedient, 4)
    consumer.signal(signal.SIGTERM)
    assert consumer.ended(20) == 0
    done = len(obedient.jobs())
    assert 8 <= done <= 20
    assert obedient.depth(obedient.queue()) == 40 - done
    obedient.consumer(threads=16)
    accepted(obedient, 40)
    assert obedient.jobs("exists").total() == 0
    assert "Traceback" not in consumer.said()


def test_a_queue_that_exists_with_other_arguments_is_used_as_it_is(
    stand: Stand, analysis: Callable[..., bytes]
) -> None:
    with stand.channel() as channel:
        channel.exchange_declare(stand.exchange, "topic", durable=True)
        channel.queue_declare(stand.queue(), durable=True, arguments={"x-max-priority": 3})
        channel.queue_bind(stand.queue(), stand.exchange, "analysis_run")
    stand.publish([analysis()])
    stand.consumer(queueType="quorum")
    accepted(stand, 1)


def test_without_declare_it_waits_until_everything_exists(stand: Stand, analysis: Callable[..., bytes]) -> None:
    consumer = stand.consumer(ready=False, declare=False)
    eventually(lambda: "NOT_FOUND" in consumer.said(), "it says what is missing")
    assert stand.depth(stand.queue()) == -1
    stand.consumer().end()
    stand.publish([analysis()])
    accepted(stand, 1)


def test_the_health_file_is_there_while_messages_are_consumed(stand: Stand, tmp_path: Path) -> None:
    path = tmp_path / "ready"
    consumer = stand.consumer(healthFile=str(path))
    eventually(path.exists, "it says that it is ready")
    stand.sidecars[0].end()
    eventually(lambda: not path.exists(), "it says that it is not")
    stand.start_sidecar()
    eventually(path.exists, "it is ready again")
    consumer.signal(signal.SIGTERM)
    assert consumer.ended() == 0
    assert not path.exists()


@pytest.mark.parametrize(
    ("access", "section", "message"),
    [
        ({"URL": "http://x"}, {}, "must be amqp://"),
        ({"URL": ""}, {}, "is required"),
        ({"CA_FILE": "/nowhere"}, {}, "amqps"),
        ({"URL": "amqps://x", "CA_FILE": "/nowhere"}, {}, "TLS"),
        ({}, {"prefetch": 0}, "/rabbitmq/prefetch"),
        ({}, {"queues": {"analysis": {}}}, "/rabbitmq/queues/analysis"),
        ({}, {"delays": [2, 1]}, "/rabbitmq/delays must grow"),
        ({"EXCHANGE": "e"}, {}, "rabbitmq.exchange in ORCHESTRATOR_RABBITMQ"),
    ],
)
def test_a_wrong_variable_is_named_and_ends_the_process_with_the_exit_code_for_configuration(
    processes: Processes, access: dict[str, str], section: dict[str, Any], message: str
) -> None:
    named = {f"ORCHESTRATOR_AMQP_{name}": value for name, value in ({"URL": "amqp://x"} | access).items()}
    process = processes.python("-m", "functions.amqp", ORCHESTRATOR_RABBITMQ=json.dumps(section), **named)
    assert process.ended() == 3
    assert message in process.said()
