"""Following a log on a real API server and kubelet, whose connections end again and again."""

from __future__ import annotations

from typing import Any

import pytest

from runner.drivers.logs import kubernetes
from tests import cluster
from tests.conformance.jobs import job
from tests.harness.deadlines import within
from tests.kubernetes.namespaces import Namespace

SCRIPT = "i=0; while [ $i -lt 40 ]; do echo $i a; echo $i b; i=$((i+1)); sleep 0.1; done; printf end"


def test_no_line_is_lost_or_repeated_where_streams_end(
    namespace: Namespace, real_servers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "STREAM_SECONDS", 0.7)
    shell = cluster.image("shell")
    cluster.load_into_kubernetes(shell)
    driver, made = namespace.driver(), job(shell.reference, SCRIPT)
    driver.submit(made, within(10))
    (seen,) = driver.list()
    texts: list[str] = []

    driver.follow_logs(seen, lambda _container, text: texts.append(text))

    assert "".join(texts) == "".join(f"{number} a\n{number} b\n" for number in range(40)) + "end\n"
