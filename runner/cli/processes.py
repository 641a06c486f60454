"""`up`, `serve` and `track`: the long-running processes."""

from __future__ import annotations

import logging.config
import os
import signal
import sys
import threading
from pathlib import Path

import click

from runner.cli.configuration import config_option, load_or_exit
from runner.config import loading as configuration
from runner.runtime import exit_codes, logs
from runner.runtime.clock import SystemClock


@click.command()
@config_option
def serve(path: str | None) -> None:
    """Run the sidecar alone: the pool of workers that own the drivers' connections.

    On SIGTERM it ends after the commands in flight; on SIGHUP it rereads the configuration.
    """
    load_or_exit(path)  # prints every problem; the pool would print a traceback
    from runner import composition
    from runner.errors import OrchestratorError
    from runner.sidecar.pool import Pool

    logging.config.dictConfig(logs.settings())
    located = configuration.locate(path, os.environ)
    # gunicorn's arbiter reads the command line to start itself again, and this one is not gunicorn's.
    sys.argv = sys.argv[:1]
    try:
        Pool(
            load=lambda: configuration.load(located, os.environ),
            build=composition.sidecar,
            preload=composition.preload,
            clock=SystemClock(),
        ).run()
    except OrchestratorError as error:
        click.echo(error.detail, err=True)
        sys.exit(exit_codes.CONFIGURATION)


@click.command()
@config_option
def track(path: str | None) -> None:
    """Run the tracker alone: it reports to atlas every end that a job cannot report itself.

    Starting two does no harm: on one host the second waits until the first ends.
    """
    config = load_or_exit(path)
    from runner import composition
    from runner.tracker.leader import only_one

    logging.config.dictConfig(logs.settings())
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with only_one(Path(f"{config.sidecar.socket}.tracker"), stop):
        composition.tracker(config).run(stop, config.tracker.interval_seconds)


@click.command()
@config_option
def up(path: str | None) -> None:
    """Run everything that the configuration names, until Ctrl-C.

    Starts the sidecar and each protocol's server, restarts what dies, and on Ctrl-C or SIGTERM ends all of it in order,
    finishing what is in flight. SIGHUP rereads the configuration.
    """
    config = load_or_exit(path)
    from runner.supervisor import Supervisor, children

    logging.config.dictConfig(logs.settings())
    located = configuration.locate(path, os.environ).resolve()
    sys.exit(Supervisor(children(config, located, os.environ), SystemClock()).run())
