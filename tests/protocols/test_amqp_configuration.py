"""The configuration file's section for RabbitMQ, and how it reaches the consumer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from functions.amqp.topology import sources
from runner.cli import main
from runner.config.protocols import RabbitmqQueue, RabbitmqSection
from runner.config.section_variable import RABBITMQ
from runner.config.types import Config
from runner.errors import Invalid
from runner.supervisor.layout import Child, children

URL = "amqp://user:secret@broker/"
ENVIRONMENT = {"ORCHESTRATOR_AMQP_URL": URL, "PATH": "/bin"}


def started(config: Config) -> dict[str, Child]:
    return {child.name: child for child in children(config, Path("/c.yaml"), ENVIRONMENT)}


def test_up_starts_the_consumer_only_where_it_is_named(make_config: Callable[..., Config]) -> None:
    assert "amqp" not in started(make_config())
    assert {"http", "amqp"} <= started(make_config(protocols=["http", "amqp"])).keys()
    assert "http" not in started(make_config(protocols=["amqp"]))


def test_only_the_consumer_gets_the_brokers_credentials(make_config: Callable[..., Config]) -> None:
    for name, child in started(make_config(protocols=["http", "amqp"])).items():
        assert (URL in child.environment.values()) == (name == "amqp")


def test_the_consumer_gets_its_section_of_the_configuration(make_config: Callable[..., Config]) -> None:
    section = {
        "exchange": "e", "queues": {"analysis_run": {"queue": "q"}, "transforer_run": {"key": "k"}}, "declare": False,
        "queueType": "quorum", "prefetch": 5, "threads": 6, "delays": [7, 8], "healthFile": "/h",
    }  # fmt: skip
    child = started(make_config(protocols=["amqp"], rabbitmq=section))["amqp"]
    assert RABBITMQ.read(child.environment) == RabbitmqSection(
        exchange="e", declare=False, queue_type="quorum", prefetch=5, threads=6, delays=(7, 8), health_file="/h",
        queues={"analysis_run": RabbitmqQueue(queue="q"), "transforer_run": RabbitmqQueue(key="k")},
    )  # fmt: skip
    named = {(source.request_type, source.queue, source.key) for source in sources(RABBITMQ.read(child.environment))}
    assert {("analysis_run", "q", "analysis_run"), ("transformer_run", "transforer_run", "k")} <= named


@pytest.mark.parametrize(
    ("section", "pointer"),
    [
        ({"delays": [2, 1]}, "/rabbitmq/delays"),
        ({"delays": []}, "/rabbitmq/delays"),
        ({"prefetch": 0}, "/rabbitmq/prefetch"),
        ({"queueType": "stream"}, "/rabbitmq/queueType"),
        ({"exchange": ""}, "/rabbitmq/exchange"),
        ({"queues": {"analysis": {}}}, "/rabbitmq/queues/analysis"),
        ({"queues": {"analysis_run": {"queue": "autofix_run"}}}, "/rabbitmq/queues/autofix_run/queue"),
        ({"url": URL}, "/rabbitmq/url"),
    ],
)
def test_a_wrong_key_is_named(make_config: Callable[..., Config], section: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as raised:
        make_config(rabbitmq=section)
    assert [problem.pointer for problem in raised.value.problems] == [pointer]


def test_check_config_prints_the_exchange(tmp_path: Path, write_config: Callable[..., Path]) -> None:
    path = str(write_config(tmp_path, protocols=["http", "amqp"]))
    bare = CliRunner().invoke(main, ["check-config", "--config", path], env={"ORCHESTRATOR_AMQP_URL": ""})
    assert (bare.exit_code, "ORCHESTRATOR_AMQP_URL is required" in bare.output) == (3, True)
    good = CliRunner().invoke(main, ["check-config", "--config", path], env={"ORCHESTRATOR_AMQP_URL": URL})
    assert (good.exit_code, "amqp from exchange atlas-jobs" in good.output) == (0, True)
    assert "secret" not in good.output


def test_check_config_names_a_removed_variable(tmp_path: Path, write_config: Callable[..., Path]) -> None:
    path = str(write_config(tmp_path, protocols=["http", "amqp"]))
    variables = {"ORCHESTRATOR_AMQP_URL": URL, "ORCHESTRATOR_AMQP_DELAYS": "1", "ORCHESTRATOR_GRPC_BIND": "unused:1"}
    checked = CliRunner().invoke(main, ["check-config", "--config", path], env=variables)
    assert checked.exit_code == 3
    assert "ORCHESTRATOR_AMQP_DELAYS is no longer read" in checked.output
    assert "ORCHESTRATOR_GRPC_BIND" not in checked.output  # it concerns a protocol that is not started
