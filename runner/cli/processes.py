"""`up`, `serve` and `track`: the long-running processes.

`up` and `serve` are one supervisor with different children: with and without the protocols. So there is one level of
supervision in each layout, and a sidecar always comes with its tracker.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import click

from runner.cli import host
from runner.cli.configuration import bad_keys, bad_variables, config_option, load_or_exit
from runner.config import exposure
from runner.config import loading as configuration
from runner.config.types import Config
from runner.errors import Malformed, OrchestratorError
from runner.runtime import exit_codes, logs, temporary, trial
from runner.runtime.clock import SystemClock
from runner.runtime.metrics import files as metrics_files
from runner.sidecar.client import DEFAULT_SOCKET, SOCKET_VARIABLE
from runner.supervisor.layout import PARTS, Child, children, pool_children, sidecar_children, tracker_children

log = logging.getLogger("orchestrator.cli")

TRIAL_SECONDS = 10
"""For a trial process to build everything with a changed configuration."""

Layout = Callable[[Config, Path, Mapping[str, str]], Sequence[Child]]


@click.command()
@config_option
@click.option("--no-tracker", is_flag=True, help="Run the pool alone, where `track` is deployed apart.")
def serve(path: str | None, no_tracker: bool) -> None:
    """Run the sidecar: the pool of workers that own the drivers' connections, and the tracker of their jobs.

    On SIGTERM it ends after the commands in flight; on SIGHUP it rereads the configuration.
    """
    config = load_or_exit(path)  # prints every problem; the pool would print a traceback
    _require_temporary_files()
    logs.configure(config.logs.level)
    if no_tracker and _is_measured(config):
        _serve_alone(configuration.locate(path, os.environ))
    else:
        _supervise(config, path, pool_children if no_tracker else sidecar_children, lambda _: iter(()))


@click.command()
@config_option
def up(path: str | None) -> None:
    """Run everything that the configuration names, until Ctrl-C.

    Starts the sidecar, the tracker and each protocol's server, restarts what dies or hangs, and on Ctrl-C or SIGTERM
    ends all of it in order, finishing what is in flight. SIGHUP rereads the configuration: what was added is started,
    what was dropped is stopped, and what has changed is restarted. An invalid file changes nothing.
    """
    config = load_or_exit(path)
    _require_temporary_files()
    logs.configure(config.logs.level)
    _supervise(config, path, children, bad_variables)


@click.command()
@config_option
def track(path: str | None) -> None:
    """Run the tracker alone: it reports to atlas every end that a job cannot report itself.

    Starting two does no harm: one leads, and the others wait until it ends. On SIGTERM the next one leads within two
    seconds. On SIGHUP it starts again with the changed configuration; an invalid file changes nothing.
    """
    from runner.cli.tracking import run

    config = load_or_exit(path)
    if not _is_measured(config):
        logs.configure(config.logs.level)
        _supervise(config, path, tracker_children, lambda _: iter(()))
    run(lambda: load_or_exit(path), lambda: _changed(configuration.locate(path, os.environ)))


@click.command()
@click.option("--bind", required=True, help="host:port, or unix: and the path of a file.")
@click.option("--socket", envvar=SOCKET_VARIABLE, default=DEFAULT_SOCKET, help="The sidecar's socket.")
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="A part that has to be ready.")
@click.option("--driver", "drivers", multiple=True, help="A driver that has to have a tracker.")
def metrics(bind: str, socket: str, parts: Sequence[str], drivers: Sequence[str]) -> None:
    """Serve the metrics of the processes around one sidecar, at /metrics, with /livez and /readyz.

    `up`, `serve` and `track` start it where `metrics.bind` is set. Start it by hand for functions that
    are started alone.
    """
    from runner.cli.exporting import run

    logs.configure(logs.level_of(os.environ))
    run(bind, socket, parts, drivers)


def _is_measured(config: Config) -> bool:
    """Whether metrics are off, or a supervisor has started this process and serves them."""
    return not config.metrics.bind or metrics_files.VARIABLE in os.environ


def _require_temporary_files() -> None:
    """Exit 3 if there can be none: gunicorn could not start a worker, and would be restarted for ever."""
    if problem := temporary.problem():
        click.echo(problem, err=True)
        sys.exit(exit_codes.CONFIGURATION)


def _serve_alone(located: Path) -> None:
    from runner import composition
    from runner.sidecar.pool import Pool

    # gunicorn's arbiter reads the command line to start itself again, and this one is not gunicorn's.
    sys.argv = sys.argv[:1]
    try:
        Pool(
            load=lambda: _load_and_warn(located),
            build=composition.sidecar,
            preload=composition.preload,
            clock=SystemClock(),
        ).run()
    except OrchestratorError as error:
        click.echo(error.detail, err=True)
        sys.exit(exit_codes.CONFIGURATION)


def _load_and_warn(located: Path) -> Config:
    config = configuration.load(located, os.environ)
    if wrong := "; ".join(bad_keys(config)):
        raise Malformed(wrong)
    for warning in exposure.warnings(config):
        log.warning("%s", warning)
    return config


def _supervise(
    config: Config, path: str | None, layout: Layout, complaints: Callable[[Config], Iterator[str]]
) -> NoReturn:
    from runner.supervisor.supervisor import Supervisor

    located = configuration.locate(path, os.environ).resolve()
    _prepare_metrics(config)
    tolerated = set(host.missing(config, os.environ))

    def reread() -> Sequence[Child]:
        changed = configuration.load(located, os.environ)
        if changed.sidecar.socket != config.sidecar.socket:
            raise Malformed("another sidecar.socket needs a restart of runner and functions")
        missing = set(host.missing(changed, os.environ)) - tolerated  # a start does not look for these files either
        if wrong := "; ".join([*complaints(changed), *sorted(missing)]):
            raise Malformed(wrong)
        if not trial.succeeds(lambda: _try(changed), TRIAL_SECONDS):
            raise Malformed("no process could be built with it; the error is logged above")
        _prepare_metrics(changed)
        logs.configure(changed.logs.level)
        return layout(changed, located, os.environ)

    sys.exit(Supervisor(layout(config, located, os.environ), reread, SystemClock()).run())


def _prepare_metrics(config: Config) -> None:
    """Create the directory that metrics are recorded in, or remove it where they are off. Raises Malformed."""
    directory = metrics_files.beside(config.sidecar.socket)
    if not config.metrics.bind:
        metrics_files.remove(directory)
        return
    try:
        metrics_files.prepare(directory)
    except OSError as error:
        raise Malformed(
            f"no metrics can be recorded: {error}; set sidecar.socket to a path that this user may write to"
        ) from error


def _changed(located: Path) -> Config:
    """The configuration as it is now. Raises OrchestratorError if the tracker cannot run with it."""
    config = configuration.load(located, os.environ)
    _try(config)
    return config


def _try(config: Config) -> None:
    """Build what the sidecar and the tracker consist of. Raises OrchestratorError."""
    from runner import composition

    if wrong := "; ".join(bad_keys(config)):
        raise Malformed(wrong)
    composition.preload(config)
    composition.sidecar(config)
    composition.tracker(config)
