"""An installation in one directory: keys, configuration, atlas, and the Orchestrator."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import requests

from examples import broker, configuration
from examples.atlas import keys
from examples.atlas.application import application
from examples.atlas.clients.amqp import AmqpClient
from examples.atlas.clients.grpc import GrpcClient
from examples.atlas.clients.http import HttpClient
from examples.atlas.runs import Runs
from examples.atlas.server import serving
from examples.atlas.tokens import Verifier, signer

HERE = Path(__file__).resolve().parent
RUNNER_ID = "demo-runner"
READY_SECONDS, STOP_SECONDS = 30.0, 40.0

_FOREIGN_PREFIXES = ("ORCHESTRATOR_", "TASK_", "GUNICORN_", "GIT_")
"""Variables that may configure another installation; the Orchestrator started here does not get them."""


class InstallationError(Exception):
    """What does not work, with the end of the log."""


class Installation:
    """The Orchestrator's process, and the places of everything that belongs to it. Made by `running_installation`."""

    def __init__(
        self, directory: Path, atlas_url: str, runs: Runs, atlas_key: str, protocol: str = "http", broker_url: str = ""
    ) -> None:
        self.directory = directory
        self.atlas_url = atlas_url
        self.runs = runs
        self.config = directory / "orchestrator.yaml"
        self.jobs = directory / "jobs"
        self.log = directory / "runner.log"
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client: HttpClient | GrpcClient | AmqpClient = HttpClient(self.url, signer(atlas_key, RUNNER_ID))
        self._protocol = protocol
        self._grpc_port = _free_port()
        self._broker_url = broker_url
        if protocol == "grpc":
            self.client = GrpcClient("127.0.0.1", self._grpc_port, signer(atlas_key, RUNNER_ID))
        if broker_url:
            self.client = AmqpClient(broker_url, self.jobs_of)
        self.process: subprocess.Popen[bytes] | None = None

    def configuration(self, runner_key: str, atlas_public_key: str) -> dict[str, Any]:
        """The content of the configuration file."""
        return {
            "runner": {"id": RUNNER_ID, "privateKey": runner_key},
            "deepsource": {"host": self.atlas_url, "publicKey": atlas_public_key},
            "protocols": list(dict.fromkeys(["http", self._protocol])),
            "http": {"bind": f"127.0.0.1:{self.port}", "workers": 1},
            "grpc": {"bind": f"127.0.0.1:{self._grpc_port}", "workers": 1},
            "sidecar": {"socket": str(self.directory / "runner.sock"), "workers": 1},
            "remotes": {"allowFile": True},
            "objectStorage": {"provider": "http", "bucket": f"{self.atlas_url}/snippets"},
            "local": {
                "directory": str(self.jobs),
                "parallelism": 2,
                "images": configuration.images(),
            },
        }

    def start(self) -> None:
        """Start the Orchestrator; its log goes to a file."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "runner", "up", "--config", str(self.config)],
                cwd=HERE.parent,
                env=_environment() | ({"ORCHESTRATOR_AMQP_URL": self._broker_url} if self._broker_url else {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches this process only, which then calls `stop`
            )

    def stop(self) -> None:
        """Stop the Orchestrator, and cancel the jobs that still run."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        for run in self.runs.all():
            for job in () if run.ended else run.jobs:
                self.command("jobs", "cancel", job)

    def command(self, *arguments: str) -> str:
        """The output of `python -m runner ARGUMENTS`; its errors where it has no output."""
        ended = subprocess.run(
            [sys.executable, "-m", "runner", *arguments, "--config", str(self.config)],
            cwd=HERE.parent,
            env=_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        return ended.stdout or ended.stderr

    def jobs_of(self, run_id: str) -> list[dict[str, str]]:
        """The jobs of a run as the driver lists them."""
        listed = json.loads(self.command("jobs", "list", "--all", "--run", run_id, "-o", "json"))
        return [{key: job[key] for key in ("name", "driver", "state")} for job in listed]

    def check_running(self) -> None:
        """Raises InstallationError where the Orchestrator has ended by itself."""
        if self.process is None or (code := self.process.poll()) is None:
            return
        raise InstallationError(f"the Orchestrator ended with {code}\n{self.log_tail()}")

    def wait_until_ready(self) -> None:
        """Return once the Orchestrator is ready. Raises InstallationError after 30 s."""
        end = time.monotonic() + READY_SECONDS
        while not (answer := _get(f"{self.url}/readyz")).startswith("200"):
            self.check_running()
            if time.monotonic() > end:
                tail = self.log_tail()
                reason = f"not ready within {READY_SECONDS:.0f} s, the last answer was {answer}"
                raise InstallationError(f"the Orchestrator is {reason}\n{tail}")
            time.sleep(0.05)

    def log_tail(self, lines: int = 15) -> str:
        """The end of the Orchestrator's log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join([f"the end of {self.log}:", *text.splitlines()[-lines:]])


@contextmanager
def running_installation(directory: Path, protocol: str = "http") -> Iterator[Installation]:
    """A running installation, with a broker for `amqp`. Every process of it ends with the block."""
    runner, atlas = keys.make(), keys.make()
    runs = Runs()
    with ExitStack() as stack:
        atlas_url = stack.enter_context(serving(application(runs, Verifier(runner.public, RUNNER_ID))))
        broker_url = stack.enter_context(_running_broker(directory / "broker")) if protocol == "amqp" else ""
        installation = Installation(directory, atlas_url, runs, atlas.private, protocol, broker_url)
        document = installation.configuration(runner.private, atlas.public)
        configuration.write(document, installation.config)
        try:
            installation.start()
            yield installation
        finally:
            installation.stop()


@contextmanager
def _running_broker(directory: Path) -> Iterator[str]:
    """The URL of a RabbitMQ broker that ends with the block."""
    try:
        broker.install()
    except broker.BrokerMissing as error:
        raise InstallationError(str(error)) from error
    started = broker.Broker(directory)
    try:
        started.start()
        yield started.url
    finally:
        started.stop()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_PREFIXES)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _get(url: str) -> str:
    """Status and first characters of the answer, or why there is none."""
    with requests.Session() as session:
        session.trust_env = False  # a proxy of the environment does not reach this host
        try:
            answer = session.get(url, timeout=5)
        except requests.RequestException as error:
            return str(error)
        return f"{answer.status_code} {answer.text[:200]}"
