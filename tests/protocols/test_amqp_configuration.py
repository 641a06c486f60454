"""The configuration file's section for RabbitMQ, and how it reaches the consumer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from functions.amqp import settings as amqp_settings
from runner.cli import main
from runner.config.types import Config
from runner.errors import Invalid
from runner.supervisor import Child, children

URL = "amqp://user:secret@broker/"
ENVIRONMENT = {"ORCHESTRATOR_AMQP_URL": URL, "PATH": "/bin"}


def started(config: Config) -> dict[str, Child]:
    return {child.name: child for child in children(config, Path("/c.yaml"), ENVIRONMENT)}


def test_up_starts_the_consumer_only_where_it_is_named(make_config: Callable[..., Config]) -> None:
    assert "amqp" not in started(make_config())
    assert {"http", "amqp"} <= started(make_config(protocols=["http", "amqp"])).keys()
    assert "http" not in started(make_config(protocols=["amqp"]))


def test_only_the_consumer_learns_the_brokers_credentials(make_config: Callable[..., Config]) -> None:
    for name, child in started(make_config(protocols=["http", "amqp"])).items():
        assert (URL in child.environment.values()) == (name == "amqp")


def test_the_consumer_reads_what_the_file_says(make_config: Callable[..., Config]) -> None:
    section = {
        "exchange": "e", "queues": {"analysis_run": {"queue": "q"}, "transforer_run": {"key": "k"}}, "declare": False,
        "queueType": "quorum", "prefetch": 5, "threads": 6, "delays": [7, 8], "healthFile": "/h",
    }  # fmt: skip
    child = started(make_config(protocols=["amqp"], rabbitmq=section))["amqp"]
    settings, _ = amqp_settings.read(child.environment)
    assert settings == amqp_settings.Settings(
        url=URL, exchange="e", declare=False, queue_type="quorum", prefetch=5, threads=6, delays=(7, 8),
        health_file="/h",
        queues={"analysis_run": amqp_settings.Place(queue="q"), "transforer_run": amqp_settings.Place(key="k")},
    )  # fmt: skip


def test_both_have_the_same_defaults(make_config: Callable[..., Config]) -> None:
    child = started(make_config(protocols=["amqp"]))["amqp"]
    assert amqp_settings.read(child.environment)[0] == amqp_settings.Settings(url=URL)


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
def test_what_is_wrong_is_named(make_config: Callable[..., Config], section: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as raised:
        make_config(rabbitmq=section)
    assert [problem.pointer for problem in raised.value.problems] == [pointer]


def test_check_config_says_where_messages_come_from(tmp_path: Path, write_config: Callable[..., Path]) -> None:
    path = str(write_config(tmp_path, protocols=["http", "amqp"]))
    bare = CliRunner().invoke(main, ["check-config", "--config", path], env={"ORCHESTRATOR_AMQP_URL": ""})
    assert (bare.exit_code, "ORCHESTRATOR_AMQP_URL is required" in bare.output) == (3, True)
    good = CliRunner().invoke(main, ["check-config", "--config", path], env={"ORCHESTRATOR_AMQP_URL": URL})
    assert (good.exit_code, "amqp from exchange atlas-jobs" in good.output) == (0, True)
    assert "secret" not in good.output
