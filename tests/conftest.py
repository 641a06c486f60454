"""What the tests share: keys, configurations and sample payloads."""

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
from tests.processes import Processes

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "examples"


def pytest_configure() -> None:
    """A shell starts a background job with SIGINT ignored, and its children inherit that; tests send it to theirs."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_servers(request: pytest.FixtureRequest) -> cluster.Cluster:
    """The real Kubernetes and Nomad, running. Skips where they cannot run; with CI=true that is an error.

    To build them takes ten minutes, once: no test's time, and not behind the reader's back.
    """
    reason = cluster.missing()
    if reason and os.environ.get("CI") == "true":
        pytest.fail(f"CI must prove the drivers on real servers: {reason}")
    if reason:
        pytest.skip(reason)
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with _clock_stopped(), capture.global_and_fixture_disabled():
        return cluster.up()


@contextmanager
def _clock_stopped() -> Iterator[None]:
    """What happens here does not count towards the timeout of the test (which pytest-timeout has set as this timer)."""
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Whatever one test starts, ended with it."""
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
    """Signs result tokens."""
    return make_key_pair()


@pytest.fixture(scope="session")
def atlas_keys() -> KeyPair:
    """Signs requests."""
    return make_key_pair()


@pytest.fixture(scope="session")
def document(runner_keys: KeyPair, atlas_keys: KeyPair) -> dict[str, Any]:
    """A configuration as its file would hold it; copy before changing."""
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
    """A configuration file for a sidecar of its own: `write_config(directory, sidecar={"workers": 2})`."""

    def write(directory: Path, **sections: Any) -> Path:
        sidecar = {"socket": str(directory / "runner.sock"), **document["sidecar"], **sections.pop("sidecar", {})}
        path = directory / "orchestrator.yaml"
        path.write_text(yaml.safe_dump({**document, **sections, "sidecar": sidecar}))
        return path

    return write


@pytest.fixture(scope="session")
def token(atlas_keys: KeyPair) -> Callable[..., str]:
    """atlas's bearer token, good unless said otherwise: `token(exp=0)`, `token(key=other.private)`."""

    def make(*, key: str = atlas_keys.private, algorithm: str = "RS256", **claims: Any) -> str:
        good = {"exp": int(time.time()) + 600, "runner_id": "runner-1"}
        kept = {name: value for name, value in {**good, **claims}.items() if value is not None}
        return jwt.encode(kept, key, algorithm=algorithm)

    return make
