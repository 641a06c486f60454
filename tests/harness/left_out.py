"""Which tests are left out, why, and how to run them: the last lines of pytest's summary.

A bare `make test` on a machine that cannot run the real servers also leaves out the suites that take long, so that a
newcomer has a verdict within five minutes.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import cluster

SERVER_FIXTURES = {"real_servers", "helm_program"}
LONG = ("tests/faults/", "tests/model/", "tests/protocols/", "tests/security/", "tests/simulation/")
"""Suites that take more than a minute each: they search, or wait for the deadlines of servers."""

LONG_REASON = "a suite that takes minutes is left out where the real servers cannot run"

REMEDIES = (
    (LONG_REASON, "make test ARGS=--long"),
    (r"\.venv-docs", "make docs"),
    (r"test cluster", "as root, on Debian or alike, with Go: make test ARGS='-m real_servers'"),
    (r"\bhelm\b|\bgo\b", "install Go"),
    (r"RabbitMQ|rabbitmq|amqp", "install Debian's rabbitmq-server, or run the tests as root"),
    (r"\broot\b|cgroup|immutable", "run the tests as root"),
)
"""How to run the tests, by the reason why they were left out. The first that fits."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long", action="store_true", help="run the suites that take long, too, where the real servers cannot run"
    )


skipping = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real_servers: needs the real Kubernetes or Nomad, or helm; all are built once")
    started_by = getattr(config, "workerinput", None)  # in a process of pytest-xdist
    config.stash[skipping] = (
        started_by["skipping"]
        if started_by
        else leaves_out_long(
            bare=config.args_source is pytest.Config.ArgsSource.TESTPATHS
            and not (config.option.keyword or config.option.markexpr),
            wanted=config.option.long,
            ci=os.environ.get("CI") == "true",
            missing=cluster.missing(),
        )
    )


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand the decision to a process of pytest-xdist, whose own arguments are other ones."""
    node.workerinput["skipping"] = node.config.stash[skipping]


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if SERVER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("real_servers")
        if config.stash[skipping] and item.nodeid.startswith(LONG):
            item.add_marker(pytest.mark.skip(reason=LONG_REASON))


def leaves_out_long(*, bare: bool, wanted: bool, ci: bool, missing: str | None) -> bool:
    """Whether this run leaves out the long tests. `bare`: no test was named; `missing`: why there are no servers."""
    return bare and not wanted and not ci and missing is not None


@pytest.hookimpl(wrapper=True, tryfirst=True)  # after all other parts of the summary
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    yield
    skipped = [(each.nodeid, each.longrepr[2]) for each in terminalreporter.stats.get("skipped", ())]
    if skipped:
        terminalreporter.section("left out")
    for line in summary(skipped):
        terminalreporter.write_line(line)


def summary(skipped: Iterable[tuple[str, str]]) -> list[str]:
    """The lines for these tests, each with its reason: the largest group first."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, reason in skipped:
        groups[reason.removeprefix("Skipped: ")].append(name)
    return [_line(reason, groups[reason]) for reason in sorted(groups, key=lambda each: (-len(groups[each]), each))]


def _line(reason: str, names: list[str]) -> str:
    folders = sorted({str(Path(name.partition("::")[0]).parent) for name in names})
    count = f"{len(names)} test{'s' if len(names) > 1 else ''} in {', '.join(folders)}"
    remedy = next((remedy for pattern, remedy in REMEDIES if re.search(pattern, reason)), "")
    them = "them" if len(names) > 1 else "it"
    return f"{count}: {reason}" + (f". To run {them}: {remedy}" if remedy else "")
