"""git, with an environment that contains its whole configuration and the credentials."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .errors import CoatError
from .output import Output
from .remote import TRANSPORTS, Remote

KEPT_VARIABLES = frozenset(
    {
        *("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
        *("HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    }
)
"""The variables of coat that git gets. The others may be secrets, or the GIT_DIR of a caller."""

_NETWORK = frozenset({"fetch", "push", "submodule"})
"""The commands that talk to a server. Only they, and what they start, get credentials."""

_CREDENTIALS = frozenset({"COAT_USERNAME", "COAT_PASSWORD"})

CREDENTIAL_HELPER = r"""!answer() {
    test "$1" = get && printf 'username=%s\npassword=%s\n' "$COAT_USERNAME" "$COAT_PASSWORD"
}; answer"""
"""Shell code that git calls (gitcredentials(7)). printf is built into the shell, so it has no argument list."""


class Git:
    """Runs git in one directory."""

    def __init__(self, directory: Path, environment: Mapping[str, str], output: Output) -> None:
        self._directory = directory
        self._environment = environment
        self._output = output

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        """The output of git. Raises CoatError with git's own reason."""
        ended = self._run(arguments, stdin)
        reason = self._output.masked(ended.stderr.strip())
        if ended.returncode:
            raise CoatError(f"git {shlex.join(arguments)} ended with {ended.returncode}: {reason}")
        self._output.write(reason)
        return ended.stdout.strip()

    def succeeds(self, *arguments: str) -> bool:
        """Whether git ends with 0; for commands whose failure is not an error."""
        return self._run(arguments, "").returncode == 0

    def check_branch(self, branch: str, flag: str) -> None:
        """Raises CoatError where a branch cannot have that name. `flag` names its origin in the message."""
        if not self.succeeds("check-ref-format", f"refs/heads/{branch}"):
            raise CoatError(f"{flag} {branch!r} is not a name that a branch can have")

    def _environment_of(self, arguments: Sequence[str]) -> dict[str, str]:
        named = _NETWORK.intersection(arguments)
        return {name: value for name, value in self._environment.items() if named or name not in _CREDENTIALS}

    def _run(self, arguments: Sequence[str], stdin: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", "-C", str(self._directory), *arguments],
            env=self._environment_of(arguments),
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )


def git_environment(remote: Remote, key: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of git and its children. git reads no configuration of the host or of its user."""
    ssh = ["ssh", "-F", os.devnull, "-o", "BatchMode=yes", "-o", "ConnectTimeout=30"]
    ssh += ["-o", "StrictHostKeyChecking=accept-new"]
    ssh += ["-o", f"UserKnownHostsFile={key.parent / 'known_hosts'}"]
    if environ.get("SSH_PRIVATE_KEY"):
        ssh += ["-o", "IdentitiesOnly=yes", "-i", str(key)]
    return {
        **{name: value for name, value in environ.items() if name in KEPT_VARIABLES},
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_SSH_COMMAND": shlex.join(ssh),
        "COAT_USERNAME": remote.username,
        "COAT_PASSWORD": remote.password,
        **_as_variables(list(_settings(remote))),
    }


def _settings(remote: Remote) -> Iterator[tuple[str, str]]:
    yield "safe.directory", "*"  # a volume belongs to root, and the job is not root
    yield "core.hooksPath", os.devnull
    yield "advice.detachedHead", "false"
    yield "http.lowSpeedLimit", "1000"  # bytes/s; git stops after a minute below that
    yield "http.lowSpeedTime", "60"
    yield "protocol.allow", "never"
    yield "protocol.ext.allow", "never"
    for transport in TRANSPORTS:
        if transport != "file" or remote.scheme == "file":  # a submodule must not read this machine's files
            yield f"protocol.{transport}.allow", "always"
    yield "credential.helper", ""
    if remote.username or remote.password:
        yield f"credential.{remote.origin}.helper", CREDENTIAL_HELPER


def _as_variables(settings: Sequence[tuple[str, str]]) -> dict[str, str]:
    """git-config(1), GIT_CONFIG_COUNT: settings that are in no file and in no argument list."""
    variables = {"GIT_CONFIG_COUNT": str(len(settings))}
    for index, (name, value) in enumerate(settings):
        variables |= {f"GIT_CONFIG_KEY_{index}": name, f"GIT_CONFIG_VALUE_{index}": value}
    return variables
