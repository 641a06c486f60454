"""The configuration of every simulated process, and what is left out of its code: threads, signatures, log lines."""

from __future__ import annotations

import logging
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from runner import composition
from runner.config.loading import parse
from runner.config.types import Config
from runner.drivers.kubernetes import api
from runner.runtime import concurrency, logs
from tests.conftest import make_key_pair
from tests.simulation.atlas import URL as ATLAS
from tests.simulation.fates import ADMISSION_SECONDS, QUEUE_SECONDS
from tests.simulation.kubernetes.cluster import URL as KUBERNETES
from tests.simulation.nomad.cluster import URL as NOMAD
from tests.simulation.scenario import NAMESPACES, QUEUED

RETENTION = 3600

_LOGGER = logging.getLogger("orchestrator")


@cache
def configuration(engine: str) -> Config:
    """The configuration of every process: short limits, two pools in two namespaces, or in the two engines."""
    first, second = NAMESPACES
    other = {"driver": "nomad"} if engine == "both" else {"namespace": second}
    queued = {} if engine == "nomad" else {QUEUED: {"queueName": "batch"}}
    keys = make_key_pair()
    document: dict[str, Any] = {
        "runner": {"id": "runner-1", "privateKey": keys.private},
        "deepsource": {"host": ATLAS, "publicKey": keys.public},
        "driver": "kubernetes" if engine == "both" else engine,
        "http": {"allowUnauthenticated": True},
        "kubernetes": {"namespace": first, "kubeconfig": str(_kubeconfig())},
        "nomad": {"address": NOMAD, "namespace": first},
        "pools": {"default": {}, "other": other, **queued},
        "tracker": {"intervalSeconds": 4},
        "limits": {
            "queueSeconds": QUEUE_SECONDS,
            "admissionSeconds": ADMISSION_SECONDS,
            "imageSeconds": 8,
            "registrySeconds": 30,
            "cloneSeconds": 30,
            "retentionSeconds": RETENTION,
        },
    }
    return parse(yaml.safe_dump(document), {})


@cache
def _kubeconfig() -> Path:
    path = Path(tempfile.mkdtemp(prefix="simulation-")) / "kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": KUBERNETES}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


class InternalErrors(logging.Handler):
    """Collects what our code logs with a traceback."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def __enter__(self) -> None:
        _LOGGER.addHandler(self)

    def __exit__(self, *_: object) -> None:
        _LOGGER.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            last = traceback.extract_tb(record.exc_info[2])[-1]
            self.seen.append(f"{record.getMessage()} ({record.exc_info[1]!r} in {last.name})")


class _Unsigned:
    """Stands for the Signer, whose signatures nobody here verifies, and which take most of a run's time."""

    def __init__(self, _private_key: str, _issuer: str, _clock: Callable[[], float]) -> None:
        pass

    def sign(self, claims: Any) -> str:
        return f"token-{claims.job}"

    def resolve_secrets(self, job: Any) -> dict[str, str]:
        return {name: f"{name} of {job.name}" for name in job.secrets}


@contextmanager
def shortcuts() -> Iterator[None]:
    """Without threads, signatures, reading the kubeconfig again each minute, and the log of commands."""
    before = concurrency.start_thread, composition.Signer, api.CREDENTIAL_SECONDS, logs.os
    concurrency.start_thread = _when_asked  # type: ignore[assignment]
    composition.Signer = _Unsigned  # type: ignore[assignment,misc]
    api.CREDENTIAL_SECONDS = float("inf")
    logs.os = SimpleNamespace(write=lambda _number, line: len(line))  # type: ignore[assignment]
    threshold = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(threshold)
        concurrency.start_thread, composition.Signer, api.CREDENTIAL_SECONDS, logs.os = before  # type: ignore[assignment,misc]


def _when_asked(work: Callable[[], Any]) -> Callable[[Any], Any]:
    """Stands for a thread: does the work when somebody waits for it, since its caller may hold a lock that it needs."""
    done = cache(work)
    return lambda _deadline: done()
