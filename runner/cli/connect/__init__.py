"""What `check-config --connect` asks of the servers that a configuration names, and of this host's directories.

In here: the checks, each with one sentence, and running them at once with a deadline. They create no job, send no
result and declare nothing. Not in here: what a configuration says by itself (`runner.cli.configuration`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from runner import composition
from runner.cli.connect import directories, kubernetes, nomad, servers
from runner.cli.connect.checks import ConnectCheck, Finding, run
from runner.config.types import Config


def findings(config: Config, path: Path, environ: Mapping[str, str]) -> Iterator[tuple[ConnectCheck, Finding]]:
    """Each check with what it found, in a fixed order. `path` is the configuration's file."""
    outside = composition.system()
    checks = [
        *kubernetes.checks(config, outside, environ),
        *nomad.checks(config, outside),
        *servers.checks(config, path, outside, environ),
        *directories.checks(config),
    ]
    return run(checks, outside.clock)
