"""Checks of this host's directories: a file can be written to each, and space is left. The file is removed at once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from runner.cli.connect.checks import ConnectCheck, Finding
from runner.config.types import Config
from runner.runtime.clock import Deadline

MEBIBYTE = 1024 * 1024
LEAST_FREE = 100 * MEBIBYTE
"""Bytes. With less, a job's files and the logs no longer fit."""

LEAST_FREE_FOR_SMALL_FILES = MEBIBYTE
"""For a directory of sockets and health files. It may be a small memory disk: the chart's has 16 MiB."""

LEAST_FILES = 1000
"""A job of this host has some twenty files."""


def checks(config: Config) -> Iterator[ConnectCheck]:
    """A check for each directory that processes write to."""
    for key, directory, least in _used(config):
        yield ConnectCheck(f"{key} in {directory}", (partial(_takes_files, directory, least),))


def _used(config: Config) -> Iterator[tuple[str, Path, int]]:
    """The key, the directory, and how many bytes must be free in it."""
    yield "temporary files", Path(tempfile.gettempdir()), LEAST_FREE
    yield "sidecar.socket", Path(config.sidecar.socket).absolute().parent, LEAST_FREE_FOR_SMALL_FILES
    if "local" in config.drivers():
        yield "local.directory", Path(config.local.directory).absolute(), LEAST_FREE
    if "amqp" in config.protocols and config.rabbitmq.health_file:
        health_file = Path(config.rabbitmq.health_file).absolute()
        yield "rabbitmq.healthFile", health_file.parent, LEAST_FREE_FOR_SMALL_FILES


def _takes_files(directory: Path, least: int, _deadline: Deadline) -> Finding:
    """A directory that is still to be made is judged by the one that it will be made in."""
    place = next(path for path in (directory, *directory.parents) if path.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".orchestrator-check-") as written:
            written.write(b"\0" * 4096)
            written.flush()
        space = os.statvfs(place)
    except OSError as error:
        advice = f"free space, or grant user {os.geteuid()} the right to write there"
        return Finding(f"no file can be written: {error.strerror}", "not ok", advice)
    free = space.f_bavail * space.f_frsize
    if free < least:
        return Finding(f"only {free // MEBIBYTE} MiB are free", "not ok", "remove files, or use another file system")
    if space.f_files and space.f_favail < LEAST_FILES:
        return Finding(f"only {space.f_favail} more files fit (inodes)", "not ok", "remove files, or use another one")
    return Finding(f"{free // MEBIBYTE} MiB free")
