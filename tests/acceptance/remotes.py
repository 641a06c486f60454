"""A repository that jobs reach over HTTP with a password, and over ssh with a key."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

USER, PASSWORD = "robot", "correct-horse-battery"

SOURCES = {
    "shop/orders.py": "import os\nimport sys\n\n\ndef total(orders=[]):\n    amount = 0\n"
    "    for order in orders:\n        if order == None:\n            continue\n        amount += order\n"
    "    return amount\n",
    "shop/__init__.py": "from   shop.orders import total\n__all__ = ['total']\n",
}


@dataclass(frozen=True)
class Repository:
    """A bare repository with two commits on `main`."""

    path: Path
    base: str
    head: str

    def branch(self, name: str) -> str:
        """The id of a branch's newest commit."""
        return _git(self.path, "rev-parse", name)

    def read(self, branch: str, path: str) -> str:
        return _git(self.path, "show", f"{branch}:{path}")


def make_repository(directory: Path) -> Repository:
    """Create a repository with two commits. The second contains problems that analyzers find and fix."""
    work, bare = directory / "work", directory / "shop.git"
    work.mkdir()
    _git(work, "init", "-q", "-b", "main")
    for step, (name, text) in enumerate(SOURCES.items()):
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_text(text)
        _git(work, "add", ".")
        _git(work, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", f"step {step}")
    _git(directory, "clone", "-q", "--bare", str(work), str(bare))
    _git(bare, "config", "http.receivepack", "true")
    return Repository(bare, _git(work, "rev-parse", "HEAD~1"), _git(work, "rev-parse", "HEAD"))


def _git(where: Path, *arguments: str) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(["git", *arguments], cwd=where, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@dataclass(frozen=True)
class SshKey:
    """A key pair in OpenSSH's text formats."""

    private: str
    public: str

    @classmethod
    def make(cls, path: Path) -> SshKey:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True)
        return cls(path.read_text(), path.with_suffix(".pub").read_text())


@contextmanager
def ssh_server(host: str, directory: Path, key: SshKey) -> Iterator[int]:
    """Run a real sshd that allows git commands with this key, and nothing else. Yields its port."""
    install_sshd()
    Path("/run/sshd").mkdir(exist_ok=True)
    directory.mkdir()
    SshKey.make(directory / "host")
    authorized = directory / "authorized"
    authorized.write_text(f'restrict,command="git shell -c \\"$SSH_ORIGINAL_COMMAND\\"" {key.public}')
    authorized.chmod(0o600)
    port = _free_port(host)
    configuration = directory / "sshd_config"
    configuration.write_text(
        f"ListenAddress {host}:{port}\nHostKey {directory}/host\nAuthorizedKeysFile {authorized}\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        f"PidFile {directory}/pid\n"
    )
    sshd = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", str(configuration), "-E", str(directory / "log")])
    try:
        _await_port(host, port)
        yield port
    finally:
        sshd.terminate()
        sshd.wait(10)


def install_sshd() -> None:
    if shutil.which("sshd", path="/usr/sbin") is None:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "-qq", "update"], env=quiet, check=True)
        command = ["apt-get", "-qq", "install", "--no-install-recommends", "openssh-server"]
        subprocess.run(command, env=quiet, check=True, stdout=subprocess.DEVNULL)


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _await_port(host: str, port: int) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection((host, port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"sshd does not listen on {host}:{port}")
