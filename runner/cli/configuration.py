"""`check-config`, and the option by which every command finds its configuration."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from runner.cli import host
from runner.config import exposure, placement
from runner.config import loading as configuration
from runner.config.protocols import Protocol
from runner.config.section_variable import BY_PROTOCOL
from runner.config.types import Config
from runner.errors import OrchestratorError
from runner.runtime import exit_codes
from runner.security.masking import shown

BROKER_VARIABLE = "ORCHESTRATOR_AMQP_URL"

NOMAD_CONNECTIONS = 100
"""From one address, unless its `limits.http_max_conns_per_client` says otherwise (Nomad agent configuration)."""

config_option = click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False),
    help=f"The configuration file.  [default: ${configuration.PATH_VARIABLE}, else {configuration.DEFAULT_PATH}]",
)


def load_or_exit(path: str | None) -> Config:
    """The configuration, or exit 3 after naming everything that is wrong with it."""
    located = configuration.locate(path, os.environ)
    try:
        return configuration.load(located, os.environ)
    except OrchestratorError as error:
        _complain(located, error)
        sys.exit(exit_codes.CONFIGURATION)


def _complain(path: Path, error: OrchestratorError) -> None:
    if not error.problems:
        click.echo(shown(error.detail), err=True)
        return
    click.echo(f"{path} has {len(error.problems)} error(s):", err=True)
    for problem in error.problems:
        click.echo(shown(f"  {_dotted(problem.pointer)} {problem.message}"), err=True)


def _dotted(pointer: str) -> str:
    """A JSON pointer as people write a key: /runner/id is runner.id."""
    parts = pointer.strip("/").split("/")
    return ".".join(part.replace("~1", "/").replace("~0", "~") for part in parts) or "the file"


@click.command("check-config")
@config_option
@click.option("--connect", is_flag=True, help="Also ask the clusters, atlas, the broker and the directories.")
def check_config(path: str | None, *, connect: bool) -> None:
    """Say everything that is wrong with the configuration, or what will run where.

    Files, programs and directories that the configuration names are looked for on this host. Run it where the processes
    will run, as the user that they will run as.

    With --connect, every server that the configuration names is asked as well: credentials, rights, namespaces, queues,
    priority classes. It takes at most some ten seconds and changes nothing: no job, no result, no declaration.
    """
    config = load_or_exit(path)
    if wrong := [*bad_keys(config), *bad_variables(config), *host.missing(config, os.environ)]:
        click.echo("\n".join(wrong), err=True)
        sys.exit(exit_codes.CONFIGURATION)
    click.echo("\n".join(_summary(config)))
    if connect and (bad := _connected(config, configuration.locate(path, os.environ))):
        click.echo(f"{bad} check(s) failed; each line says what to do", err=True)
        sys.exit(exit_codes.CONFIGURATION)


def _connected(config: Config, path: Path) -> int:
    """Print a line for each check; how many failed. What an earlier line says in full is not repeated."""
    from runner.cli.connect import findings  # builds on every driver, and most commands need none

    first: dict[str, str] = {}
    states = []
    for check, finding in findings(config, path, os.environ):
        failed = finding.state == "not ok"
        earlier = first.setdefault(finding.text, check.what) if failed else check.what
        text = finding.text if earlier == check.what else f"the same as for {earlier}"
        click.echo(shown(f"{finding.state:<8}{check.what}{': ' if text else ''}{text}"))
        states.append(finding.state)
    return states.count("not ok")


@click.command()
@click.argument("name", type=click.Choice([each.section for each in BY_PROTOCOL.values()]))
@config_option
def section(name: str, path: str | None) -> None:
    """Print a protocol's section as one line of JSON, for a process of that protocol that is started alone.

    \b
    export ORCHESTRATOR_HTTP="$(python -m runner section http)"          for gunicorn
    export ORCHESTRATOR_GRPC="$(python -m runner section grpc)"          for python -m functions.grpc
    export ORCHESTRATOR_RABBITMQ="$(python -m runner section rabbitmq)"  for python -m functions.amqp

    The line has no secret. Besides it, the process may need ORCHESTRATOR_SOCKET (the sidecar's socket, if it is not
    the default one), and for RabbitMQ ORCHESTRATOR_AMQP_URL (the broker's URL and credentials).
    """  # noqa: D301  (the escape is meant: click leaves a paragraph alone that begins with this character)
    (chosen,) = (each for each in BY_PROTOCOL.values() if each.section == name)
    click.echo(chosen.encode(load_or_exit(path)))


def bad_keys(config: Config) -> Iterator[str]:
    """What is wrong with the keys themselves."""
    from runner.security.keys import parse_private_key, parse_public_keys  # brings in the cryptography library

    parse: Callable[[str], object]
    for parse, pem in (
        (parse_private_key, config.runner.private_key),
        (parse_public_keys, config.deepsource.public_keys),
    ):
        try:
            if pem:  # without atlas's key, no token is asked for
                parse(pem)
        except OrchestratorError as error:
            yield error.detail


def bad_variables(config: Config) -> Iterator[str]:
    """What is wrong with the environment of the protocols' processes."""
    for protocol in config.protocols:
        yield from BY_PROTOCOL[protocol].removed_variables(os.environ)
    if "amqp" in config.protocols and not os.environ.get(BROKER_VARIABLE):
        yield f"{BROKER_VARIABLE} is required for the protocol amqp: amqp://user:password@host:port/vhost, or amqps://"


def _summary(config: Config) -> list[str]:
    protected = "no token needed" if config.http.allow_unauthenticated else "tokens of the control plane"
    pools = config.pool_names()
    return [
        "The configuration is good.",
        f"  we are          {config.runner.id}, for atlas at {config.atlas_url}",
        f"  requests        {', '.join(_served(config, protocol) for protocol in config.protocols)} ({protected})",
        f"  sidecar         {config.sidecar.workers} workers, each with {config.sidecar.threads} commands in flight,"
        f" at {config.sidecar.socket}",
        *(f"  pool {pool:<10} {_where(config, pool)}{_note(config, pool)}" for pool in pools),
        *_advice(config),
    ]


def _advice(config: Config) -> Iterator[str]:
    """Warnings: settings that are valid, but let anybody in, or can exceed a limit of the cluster."""
    for warning in exposure.warnings(config):
        yield f"  beware          {warning}"
    for warning in placement.without_effect(config):
        yield f"  beware          {warning}"
    if host.has_no_kubeconfig(config, os.environ):
        yield "  beware          of Kubernetes: outside a pod it needs a kubeconfig, and there is none on this host"
    most = config.sidecar.workers * config.sidecar.threads + 1  # the tracker's
    if most > NOMAD_CONNECTIONS and "nomad" in map(config.driver_of, config.pool_names()):
        yield f"  beware          of {most} connections to Nomad: it takes {NOMAD_CONNECTIONS} from one address,"
        yield "                  unless you raise its limits.http_max_conns_per_client"


def _served(config: Config, protocol: Protocol) -> str:
    if protocol == "grpc":
        tls = config.grpc.tls
        secured = "mutual TLS" if tls.client_ca else "TLS" if tls.certificate else "plain text"
        return f"grpc on {config.grpc.bind} ({secured})"
    if protocol == "amqp":
        queues = f"{config.rabbitmq.queue_type} queues" if config.rabbitmq.declare else "queues that exist"
        return f"amqp from exchange {config.rabbitmq.exchange}, {queues} (the broker's credentials)"
    return f"http on {config.http.bind}"


def _where(config: Config, pool: str) -> str:
    driver = config.driver_of(pool)
    if driver == "local":
        return f"local: in {config.local.directory}, {config.local.parallelism} at a time"
    settings = config.pools.get(pool)
    if driver == "kubernetes":
        return f"kubernetes: namespace {(settings and settings.namespace) or config.cluster.namespace}"
    if driver == "nomad":
        where = (settings and settings.namespace) or config.nomad.namespace
        return f"nomad: namespace {where} at {config.nomad.address}, by {config.nomad.task_driver}"
    return driver


def _note(config: Config, pool: str) -> str:
    return "   (whatever names no other pool)" if pool == config.default_pool else ""
