"""A private RabbitMQ broker from Debian's package: `python -m examples.broker` runs one until Ctrl-C.

It has its own data, cookie, log, node name, ports and epmd, and listens on the loopback interface only. So it does not
disturb another broker on the host, and nothing of it remains after it ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

SBIN = Path("/usr/lib/rabbitmq/bin")
"""The scripts themselves. Those in /usr/sbin change the user, and control the system's broker only."""

START_SECONDS = 60.0
PACKAGE = "rabbitmq-server"

_GUARD = '"$@" & read -r _; kill -9 0'
"""Starts a program. Kills its process group (kill(2): 0) when the other end of standard input is closed."""


class BrokerMissing(Exception):
    """rabbitmq-server is absent and cannot be installed."""


def install() -> None:
    """Install the package where it is absent, without starting the system's broker. Raises BrokerMissing on failure."""
    if (SBIN / "rabbitmq-server").exists():
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise BrokerMissing(f"the Debian package {PACKAGE} is needed; install it, or run this as root")
    apt = ("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=600")
    # RUNLEVEL=1: invoke-rc.d(8) starts no service in single-user mode.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in ((*apt, "update"), (*apt, "install", "--no-install-recommends", PACKAGE)):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BrokerMissing(f"`{' '.join(command)}` failed: {done.stderr[-500:]}")


class Broker:
    """One broker in `directory`. Its durable queues survive `kill` and `start`."""

    def __init__(self, directory: Path, settings: str = "") -> None:
        self.directory = directory
        self.port = _free_port()
        self._distribution_port, self._epmd_port = _free_port(), _free_port()
        self._node = f"orchestrator-{uuid.uuid4().hex[:8]}@localhost"
        self._server: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "rabbitmq.conf").write_text(f"listeners.tcp.default = 127.0.0.1:{self.port}\n{settings}\n")
        (directory / "enabled_plugins").write_text("[].\n")

    def __repr__(self) -> str:
        return f"Broker({self.url}, {'running' if self.runs() else 'stopped'})"

    @property
    def url(self) -> str:
        """With the credentials of a new broker, which accepts them from this host only."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start the broker and wait until it accepts connections. Raises TimeoutError after 60 s, or where it ends."""
        if self._epmd is None:
            self._epmd = self._run("epmd", "-address", "127.0.0.1", "-port", str(self._epmd_port))
        self._server = self._run(str(SBIN / "rabbitmq-server"))
        until = time.monotonic() + START_SECONDS
        while not self._accepts_connections():
            if time.monotonic() > until or self._server.poll() is not None:
                raise TimeoutError(f"the broker did not start: {(self.directory / 'output').read_text()[-500:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill the broker without a shutdown, as a power failure does."""
        if self._server is not None:
            _end(self._server)
            self._server = None

    def restart(self) -> None:
        """Kill the broker and start it again."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """Kill the broker and its epmd."""
        self.kill()
        if self._epmd is not None:
            _end(self._epmd)
            self._epmd = None

    def runs(self) -> bool:
        """Whether its process is running."""
        return self._server is not None and self._server.poll() is None

    def control(self, *arguments: str) -> str:
        """The output of `rabbitmqctl ARGUMENTS`, which takes one to two seconds. Raises RuntimeError where it fails."""
        command = (str(SBIN / "rabbitmqctl"), "--node", self._node, "--quiet", *arguments)
        done = subprocess.run(
            command, env=self._environment(), cwd=self.directory, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a program in its own process group. The group ends with this process, even on SIGKILL: stdin closes."""
        with (self.directory / "output").open("ab") as sink:
            return subprocess.Popen(
                ("/bin/sh", "-c", _GUARD, "guard", *command),
                cwd=self.directory,
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )

    def _accepts_connections(self) -> bool:
        """Whether it answers a wrong protocol header with the right one (AMQP 0-9-1, 4.2.2)."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(b"AMQP\x00\x00\x00\x00")
                return connection.recv(4) == b"AMQP"
        except OSError:
            return False

    def _environment(self) -> Mapping[str, str]:
        own = {name: str(self.directory / name) for name in ("mnesia", "log", "nothing")}
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))},
            "HOME": str(self.directory),  # the directory of Erlang's cookie
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none",
            "RABBITMQ_CTL_ERL_ARGS": "+S 1:1 +sbwt none",
            "RABBITMQ_MNESIA_BASE": own["mnesia"],
            "RABBITMQ_LOG_BASE": own["log"],
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": own["nothing"],
            "RABBITMQ_CONF_ENV_FILE": own["nothing"],
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
        }


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> int:
    """Run a broker until Ctrl-C."""
    try:
        install()
    except BrokerMissing as error:
        print(error, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="orchestrator-broker-") as directory:
        broker = Broker(Path(directory))
        try:
            broker.start()
            print(f"export ORCHESTRATOR_AMQP_URL={broker.url}", flush=True)
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
        finally:
            broker.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
