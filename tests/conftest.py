"""Fixtures for all tests: keys, configurations, sample payloads, processes and the real clusters."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from runner.config.loading import parse
from runner.config.types import Config
from tests import cluster
from tests.harness.processes import Processes

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "examples"

pytest_plugins = ["tests.harness.left_out"]

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = (
    "false"  # with it, one in 300 children of a process that has a client ends at once
)


def pytest_configure() -> None:
    """Restore SIGINT. A shell starts a background job with SIGINT ignored, and processes under test inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_servers(request: pytest.FixtureRequest) -> cluster.Cluster:
    """The real Kubernetes and Nomad, running. Skips the test where they cannot run; fails it if CI=true.

    The first build takes ten minutes. It does not count towards the test's timeout, and its progress is printed.
    """
    reason = cluster.missing()
    if reason and os.environ.get("CI") == "true":
        pytest.fail(f"with CI=true, the tests on real servers must run, but they cannot: {reason}")
    if reason:
        pytest.skip(reason)
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with _timeout_suspended(), capture.global_and_fixture_disabled():
        return cluster.up()


@contextmanager
def _timeout_suspended() -> Iterator[None]:
    """Suspend the test's timeout. pytest-timeout implements it by this timer."""
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts processes for one test, and ends them after it."""
    started = Processes(tmp_path)
    yield started
    started.end()


class KeyPair(msgspec.Struct, frozen=True):
    """An RSA key pair in PEM."""

    private: str
    public: str


def make_key_pair(bits: int = 2048) -> KeyPair:
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return KeyPair(private.decode(), public.decode())


@pytest.fixture(scope="session")
def runner_keys() -> KeyPair:
    """The runner's keys, which sign result tokens."""
    return make_key_pair()


@pytest.fixture(scope="session")
def atlas_keys() -> KeyPair:
    """atlas's keys, which sign request tokens."""
    return make_key_pair()


@pytest.fixture(scope="session")
def document(runner_keys: KeyPair, atlas_keys: KeyPair) -> dict[str, Any]:
    """The content of a configuration file. Copy it before you change it."""
    return {
        "runner": {"id": "runner-1", "privateKey": runner_keys.private},
        "deepsource": {"host": "https://atlas.example", "publicKey": atlas_keys.public},
        "driver": "memory",
        "sidecar": {"workers": 1},
    }


@pytest.fixture(scope="session")
def make_config(document: dict[str, Any]) -> Callable[..., Config]:
    """A configuration with some sections replaced: `make_config(limits={"queueSeconds": 1})`."""

    def make(**sections: Any) -> Config:
        return parse(yaml.safe_dump({**document, **sections}), {})

    return make


@pytest.fixture(scope="session")
def config(make_config: Callable[..., Config]) -> Config:
    return make_config()


@pytest.fixture(scope="session")
def sample() -> Callable[[str], dict[str, Any]]:
    """A fresh copy of a real payload: `sample("analysis")`."""

    def load(name: str) -> dict[str, Any]:
        decoded: dict[str, Any] = msgspec.json.decode((SAMPLES / f"{name}.json").read_bytes())
        return decoded

    return load


@pytest.fixture(scope="session")
def write_config(document: dict[str, Any]) -> Callable[..., Path]:
    """Writes a configuration file whose socket is in the same directory: `write_config(directory, driver="local")`."""

    def write(directory: Path, **sections: Any) -> Path:
        sidecar = {"socket": str(directory / "runner.sock"), **document["sidecar"], **sections.pop("sidecar", {})}
        path = directory / "orchestrator.yaml"
        path.write_text(yaml.safe_dump({**document, **sections, "sidecar": sidecar}))
        return path

    return write


@pytest.fixture(scope="session")
def token(atlas_keys: KeyPair) -> Callable[..., str]:
    """atlas's bearer token, valid unless arguments change it: `token(exp=0)`, `token(key=other.private)`."""

    def make(*, key: str = atlas_keys.private, algorithm: str = "RS256", **claims: Any) -> str:
        valid = {"exp": int(time.time()) + 600, "runner_id": "runner-1"}
        present = {name: value for name, value in {**valid, **claims}.items() if value is not None}
        return jwt.encode(present, key, algorithm=algorithm)

    return make
