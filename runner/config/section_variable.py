"""A protocol's section of the configuration in one environment variable, for the protocol's own process.

`up` sets the variable for each process that it starts; `python -m runner section NAME` prints its value for a process
that is started alone. The value is the section as one JSON document, with the keys of the file. It is decoded into the
struct that the file is decoded into, and checked by the same rules.

One variable for each protocol, not one for all: processes of several protocols can then be started from one set of
variables (an EnvironmentFile, a ConfigMap), and none can be given another's section.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from runner.config.protocols import GrpcSection, HttpSection, RabbitmqSection
from runner.config.reading import read
from runner.config.rules import grpc_problems, http_problems, rabbitmq_problems
from runner.config.section import Section
from runner.config.types import Config
from runner.errors import Invalid, Malformed, Problem

S = TypeVar("S", bound=Section)


class SectionVariable(msgspec.Struct, Generic[S], frozen=True, kw_only=True):
    """Which section the variable holds, and how it is checked."""

    section: str
    """The section's name in the file."""
    variable: str
    kind: type[S]
    rules: Callable[[S], Iterator[Problem]] = lambda _: iter(())
    removed: Mapping[str, str]
    """Variables that set single keys in earlier releases, and the key that replaces each. Whole names, no prefix:
    Kubernetes itself sets ORCHESTRATOR_GRPC_PORT and the like where a Service is named orchestrator-grpc."""

    def encode(self, config: Config) -> str:
        """The variable's value for this configuration. No protocol's section has a secret."""
        return msgspec.json.encode(getattr(config, self.section)).decode()

    def read(self, environ: Mapping[str, str]) -> S:
        """The section; its defaults where the variable is unset.

        Raises Malformed where a removed variable is set or the value is no JSON, Invalid with every bad field. The
        problems' pointers are those of the whole file (/grpc/bind), as `check-config` has them.
        """
        if removed := [*self.removed_variables(environ)]:
            raise Malformed("; ".join(removed))
        value = environ.get(self.variable)
        if value is None:
            return self.kind()
        if not value.strip():  # as a failed `export X="$(python -m runner section …)"` leaves it
            raise Malformed(f"{self.variable} is empty; {self._remedy}")
        document = value.encode(errors="surrogateescape")
        try:
            return read(document, self.kind, unknown="refuse", rules=self.rules, at=f"/{self.section}")
        except Malformed as error:
            raise Malformed(f"{self.variable} is not a JSON document ({error.detail}); {self._remedy}") from error
        except Invalid as error:
            wrong = "; ".join(f"{problem.pointer} {problem.message}" for problem in error.problems)
            raise Invalid(error.problems, f"{self.variable} is wrong: {wrong}; {self._remedy}") from error

    def removed_variables(self, environ: Mapping[str, str]) -> Iterator[str]:
        """An error message for each removed variable that is still set; else its value would be ignored silently."""
        for name, key in self.removed.items():
            if environ.get(name):
                yield (
                    f"{name} is no longer read: unset it, and set {self.section}.{key} in {self.variable},"
                    f" the JSON document that {self._command} prints"
                )

    @property
    def _remedy(self) -> str:
        return f"set it to what {self._command} prints"

    @property
    def _command(self) -> str:
        return f"`python -m runner section {self.section}`"


HTTP = SectionVariable(
    section="http",
    variable="ORCHESTRATOR_HTTP",
    kind=HttpSection,
    rules=http_problems,
    removed={
        "ORCHESTRATOR_HTTP_BIND": "bind",
        "ORCHESTRATOR_HTTP_WORKERS": "workers",
        "ORCHESTRATOR_HTTP_THREADS": "threads",
    },
)
GRPC = SectionVariable(
    section="grpc",
    variable="ORCHESTRATOR_GRPC",
    kind=GrpcSection,
    rules=grpc_problems,
    removed={
        "ORCHESTRATOR_GRPC_BIND": "bind",
        "ORCHESTRATOR_GRPC_CONCURRENCY": "concurrency",
        "ORCHESTRATOR_GRPC_TLS_CERTIFICATE": "tls.certificate",
        "ORCHESTRATOR_GRPC_TLS_KEY": "tls.key",
        "ORCHESTRATOR_GRPC_TLS_CLIENT_CA": "tls.clientCa",
    },
)
RABBITMQ = SectionVariable(
    section="rabbitmq",
    variable="ORCHESTRATOR_RABBITMQ",
    kind=RabbitmqSection,
    rules=rabbitmq_problems,
    removed={
        "ORCHESTRATOR_AMQP_EXCHANGE": "exchange",
        "ORCHESTRATOR_AMQP_QUEUES": "queues",
        "ORCHESTRATOR_AMQP_QUEUE_TYPE": "queueType",
        "ORCHESTRATOR_AMQP_DECLARE": "declare",
        "ORCHESTRATOR_AMQP_PREFETCH": "prefetch",
        "ORCHESTRATOR_AMQP_THREADS": "threads",
        "ORCHESTRATOR_AMQP_DELAYS": "delays",
        "ORCHESTRATOR_AMQP_HEALTH_FILE": "healthFile",
    },
)
BY_PROTOCOL: Mapping[str, SectionVariable[Any]] = {"http": HTTP, "grpc": GRPC, "amqp": RABBITMQ}
"""By the protocol's name in `protocols`. RabbitMQ's protocol is `amqp`, and its section `rabbitmq`."""
