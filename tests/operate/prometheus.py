"""A real Prometheus, which scrapes an endpoint each second and evaluates the alerts in seconds instead of minutes."""

from __future__ import annotations

import json
import re
import shutil
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT
from tests.harness.processes import Process, Processes, eventually, free_port

MONITORING = ROOT / "deploy" / "monitoring"
SECONDS = {"5m": "10s", "15m": "15s", "1d": "60s", "600": "3", "120": "6"}
"""Windows and ages of the rules, and what they are in the test."""


def installed() -> str:
    """Why there is no Prometheus; empty if there is one."""
    missing = [name for name in ("prometheus", "promtool") if not shutil.which(name)]
    return f"{' and '.join(missing)}: install the Debian package prometheus" if missing else ""


def hastened(rules: str) -> str:
    """The same rules for a test: each window and age is shorter, and nothing has to last."""
    document = yaml.safe_load(rules)
    for rule in document["groups"][0]["rules"]:
        rule["for"] = "0s"
        for written, short in SECONDS.items():
            rule["expr"] = re.sub(rf"(\[|> |offset ){written}\b", rf"\g<1>{short}", rule["expr"])
    return yaml.safe_dump(document)


class Prometheus:
    """The server, and a client of its API."""

    def __init__(self, processes: Processes, directory: Path, target: int) -> None:
        directory.mkdir()
        self._port = free_port()
        (directory / "alerts.yaml").write_text(hastened((MONITORING / "alerts.yaml").read_text()))
        (directory / "prometheus.yaml").write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(directory / "alerts.yaml")],
                    "scrape_configs": [
                        {"job_name": "orchestrator", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
                    ],
                }
            )
        )
        self.process: Process = processes.command(
            "prometheus",
            f"--config.file={directory / 'prometheus.yaml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            name="prometheus",
        )
        eventually(self._answers, f"Prometheus answers; see {self.process.log}", 30)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an expression now. Raises urllib's HTTPError if it is not valid."""
        found: list[dict[str, Any]] = self._get(f"query?{urllib.parse.urlencode({'query': expression})}")["result"]
        return [each for each in found if each["value"][1] != "NaN"]

    def firing(self) -> dict[str, dict[str, Any]]:
        """The alerts that fire, by name."""
        alerts = self._get("alerts")["alerts"]
        return {each["labels"]["alertname"]: each for each in alerts if each["state"] == "firing"}

    def await_alert(self, name: str, seconds: float = 60) -> dict[str, Any]:
        return eventually(lambda: self.firing().get(name), f"{name} fires", seconds) or {}

    def await_end(self, name: str, seconds: float = 60) -> None:
        eventually(lambda: name not in self.firing(), f"{name} ends", seconds)

    def _answers(self) -> bool:
        try:
            return bool(self.query("up"))
        except OSError:
            return False

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)["data"]
