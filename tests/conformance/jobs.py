"""The jobs of the suite: small programs for /bin/sh."""

from __future__ import annotations

import itertools
import shlex
import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from runner.jobs import (
    Cancellation,
    Container,
    Deadlines,
    JobSpec,
    Report,
    Resources,
    Secret,
    SecretRef,
    Text,
    TokenClaims,
    Volume,
)

POOL = "plan-a"
_SIZE = Resources(cpu=50, memory=32)
_numbers = itertools.count(1)


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """What a container does: print a text, then exit with a code, or run until it is stopped."""

    prints: str = ""
    exit_code: int = 0
    endless: bool = False

    @property
    def script(self) -> str:
        output = f"printf %s {shlex.quote(self.prints)}; " if self.prints else ""
        return output + ("while :; do sleep 1; done" if self.endless else f"exit {self.exit_code}")


class SecretResolver:
    """Resolves secrets. `asked` counts the calls for each job; the next `failures` calls raise RuntimeError."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.asked: Counter[str] = Counter()
        self.failures = 0

    def __call__(self, job: JobSpec) -> dict[str, str]:
        with self._lock:
            if self.failures:
                self.failures -= 1
                raise RuntimeError("the key cannot be read")
            self.asked[job.name] += 1
        return {name: _value(name, secret) for name, secret in job.secrets.items()}


def _value(name: str, secret: Secret | TokenClaims) -> str:
    return secret.reveal() if isinstance(secret, Secret) else f"signed for {secret.job}, as {name}"


def new_name() -> str:
    """A name that no other test uses: the cluster may be shared by all tests."""
    return f"analysis-s{next(_numbers)}-{uuid.uuid4()}-1"


def job(
    image: str,
    main: Program | str = Program(),  # noqa: B008  (frozen)
    *,
    init: Program | str | None = None,
    name: str = "",
    fingerprint: str = "f1",
    args: Iterable[Text] = (),
    env: Mapping[str, Text] | None = None,
    secrets: Mapping[str, Secret | TokenClaims] | None = None,
    deadlines: Deadlines = Deadlines(queue=60, clone=60, run=60),  # noqa: B008  (frozen)
) -> JobSpec:
    """A job that runs `main`, after `init`. `args` and `env` are the main container's."""
    name = name or new_name()
    return JobSpec(
        name=name,
        fingerprint=fingerprint,
        pool=POOL,
        labels={"application": name, "manager": "runner"},
        pod_labels={"application": name, "role": "analysis", "analyzer": "python"},
        init=_container("coat", image, init) if init is not None else None,
        main=_container("marvin", image, main, args, env or {}),
        volumes=(Volume(name="codedir", path="/code"),),
        deadlines=deadlines,
        report=report(name),
        secrets=secrets or {},
    )


def report(name: str) -> Report:
    return Report(
        request_type="analysis_run",
        run_id=f"run of {name}",
        check_seq="1",
        analyzer="python",
        path="/api/runner/analysis/results",
        task="contrib.atlas.tasks.store_analysis_run_result",
        scope="analysis.*",
    )


def cancellation(name: str, run_id: str = "cancel-1") -> Cancellation:
    return Cancellation(
        name=name,
        labels={"application": name, "manager": "runner"},
        report=Report(
            request_type="cancel_check_run",
            run_id=run_id,
            check_seq="1",
            path="/api/runner/cancel-check/results",
            task="contrib.atlas.tasks.confirm_check_cancellation",
            scope="analysis.*",
        ),
    )


def secret_ref(name: str) -> SecretRef:
    return SecretRef(name=name)


def _container(
    name: str,
    image: str,
    program: Program | str,
    args: Iterable[Text] = (),
    env: Mapping[str, Text] | None = None,
) -> Container:
    script = program if isinstance(program, str) else program.script
    return Container(
        name=name,
        image=image,
        command=("/bin/sh", "-c", script, name),
        args=tuple(args),
        env=tuple((env or {}).items()),
        requests=_SIZE,
        limits=_SIZE,
    )
