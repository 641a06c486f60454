"""One call of coat: its flags, its directories, git, and the private key."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import CoatError
from .git import Git, git_environment
from .output import Output
from .remote import Remote


class Job:
    """Flags, environment and directories of one call. Raises CoatError where the remote URL is not allowed."""

    def __init__(
        self,
        options: argparse.Namespace,
        environ: Mapping[str, str],
        output: Output,
    ) -> None:
        self.options = options
        self.environ = environ
        self.output = output
        self.root = Path(environ.get("ORCHESTRATOR_ROOT") or "/")
        self.code = Path(environ.get("CODE_PATH") or self.root / "code")
        self.remote = Remote.parse(options.remote_url)
        self._key = self._ssh_directory() / "coat-key"
        self.git = Git(self.code, git_environment(self.remote, self._key, environ), output)

    def _ssh_directory(self) -> Path:
        """The jobs' volume where there is one, because the home of a user without an account is /."""
        volume = self.root / "home/runner/.ssh"
        home = Path(self.environ.get("HOME") or self.root / "home/runner")
        return volume if volume.is_dir() else home / ".ssh"

    def key_file(self) -> KeyFile:
        """The private key as a file, for the time of a block."""
        return KeyFile(self._key, self.environ.get("SSH_PRIVATE_KEY", ""))


class KeyFile:
    """A private key as a file for the time of a block. marvin gets the same volume, so the file must not remain."""

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._key = key

    def __enter__(self) -> None:
        if not self._key:
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(self._key.rstrip("\n") + "\n")  # ssh refuses a key without its last newline

    def __exit__(self, *_: object) -> None:
        self._path.unlink(missing_ok=True)


def parse_flag(text: str, flag: str, kind: type) -> Any:
    """The JSON value of a flag, a dict or a list. Raises CoatError where it is not of that kind."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise CoatError(f"{flag} is not JSON: {error}") from error
    if not isinstance(value, kind):
        raise CoatError(f"{flag} must be a JSON {'object' if kind is dict else 'array'}")
    return value
