#!/usr/bin/env python3
"""coat clones the repository for marvin. As a job's main container it commits patches and pushes.

One file; standard library and git (2.38 or newer) only. An image has it as /app/coat, with marvin
beside it.

A secret never stands in an argument list, in .git/config or in what is printed. git asks a
credential helper, which answers from the environment and for the remote's own host only. A key is a
file of mode 0600 that is gone before marvin starts.

To commit, `--patch-meta` is JSON in the shape of a transformer's `patch_commit`; only `message` may
be left out:

    {"commit": {"title": "...", "message": "...", "destination_branch": "..."},
     "author": {"name": "...", "email": "..."}}

and `--artifacts` says which patches: {"key": K, "patch_ids": {file: [id, ...]}}. Snippet storage of
type `http` is a base URL, the bucket: `GET {bucket}/{key}/{id}`, with the result token as bearer,
gives a patch as a unified diff.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, unquote, urlsplit

DONE, FAILED = 0, 1

HTTP_SECONDS = 60
"""For one answer of the snippet storage, of atlas or of an artifact's server."""

TRANSPORTS = ("https", "http", "ssh", "file")
"""What git may use. Others, like ext::, run programs that the URL names (git-remote-ext(1))."""

KEPT_VARIABLES = frozenset(
    {
        *("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
        *("HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    }
)
"""All that git gets of our environment; the rest may be secrets, or a caller's GIT_DIR."""

CREDENTIAL_HELPER = r"""!answer() {
    test "$1" = get && printf 'username=%s\npassword=%s\n' "$COAT_USERNAME" "$COAT_PASSWORD"
}; answer"""
"""Shell text that git asks (gitcredentials(7)). printf is the shell's own, so no argument list."""

_OID = re.compile(r"[0-9a-fA-F]{7,64}")
_SCP = re.compile(r"[^-:/\s][^:/\s]*:[^:\s]\S*")
_REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
_USERINFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")


class CoatError(Exception):
    """What went wrong, in a sentence for a person."""


FAILURES = (CoatError, OSError, HTTPException)


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Clone or commit, as the flags say. Gives the exit code."""
    options = _parse(expanded(arguments, environ))
    output = Output(secrets_in(options.remote_url, environ))
    work = prepare if options.patch_meta is None else commit_and_publish
    try:
        work(options, environ, output)
    except FAILURES as error:
        output.say(f"coat: {error}")
        return FAILED
    return DONE


def expanded(arguments: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """The arguments, with each that is exactly `$(NAME)` replaced by that variable.

    The kubelet does this itself. A host's argument lists can be read by all its users, so on a host
    a secret argument arrives as the reference. A branch may really be called `$(NAME)`: its name is
    taken as it is.
    """

    def value(flag: str, argument: str) -> str:
        reference = None if flag == "--base-branch" else _REFERENCE.fullmatch(argument)
        return environ.get(reference[1], argument) if reference else argument

    return [value(flag, argument) for flag, argument in pairwise(["", *arguments])]


class _Parser(argparse.ArgumentParser):
    """Complains about flags without quoting their values, which may be secrets."""

    def error(self, message: str) -> NoReturn:
        if not message.startswith("the following arguments are required"):
            message = f"{message.partition(': ')[0]} cannot be understood"
        super().error(message)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    about = "Clones a repository for marvin, or commits stored patches to it."
    parser = _Parser(prog="coat", description=about, allow_abbrev=False)
    add = parser.add_argument
    add("--run-id", required=True)
    add("--check-seq", help="the number of the check; not with --patch-meta")
    add("--remote-url", required=True, help="https, http, ssh, file or scp-like; with credentials")
    add("--base-branch", default="", help="fetched as origin/BRANCH; HEAD where empty")
    add("--checkout-oid", required=True, help="the commit to check out, on any branch or on none")
    add("--clone-submodules", choices=("true", "false"), default="false")
    add("--sparse-checkout-path", default="", help="check out this directory only")
    add("--artifacts", default="", help="JSON: what to download, or with --patch-meta the patches")
    add("--decrypt-remote-url", choices=("false",), help="the URL is never encrypted")
    add("--patch-meta", help="JSON: commit and push, instead of cloning for marvin")
    add("--snippet-storage-type", default="", help="http is the one that is known")
    add("--snippet-storage-bucket", default="", help="with http: the base URL")
    return parser.parse_args(arguments)


@dataclass(frozen=True)
class Remote:
    """A clone URL, and apart from it the credentials that stood in it."""

    url: str
    scheme: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> Remote:
        """Raises CoatError, without quoting the URL, where git is not to be let near it."""
        scheme, separator, rest = url.partition("://")
        if not separator and _SCP.fullmatch(url):
            return cls(url, "ssh")
        if scheme not in TRANSPORTS:
            known = ", ".join(TRANSPORTS)
            raise CoatError(f"--remote-url must begin with {known} and ://, or be user@host:path")
        authority, _, path = rest.partition("/")
        userinfo, _, host = authority.rpartition("@")
        username, _, password = (unquote(part) for part in userinfo.partition(":"))
        if any(ord(character) < 32 for character in username + password):
            raise CoatError("the credentials in --remote-url hold control characters")
        if scheme == "ssh":  # git would give a password to ssh as an argument, and ssh takes none
            login = f"{quote(username)}@" if username else ""
            return cls(f"ssh://{login}{host}/{path}", scheme)
        return cls(f"{scheme}://{host}/{path}", scheme, username, password)

    @property
    def origin(self) -> str:
        """Scheme and host: what the credentials are for."""
        return "/".join(self.url.split("/", 3)[:3])


def secrets_in(remote_url: str, environ: Mapping[str, str]) -> frozenset[str]:
    """Whatever must not be printed, in all the ways a server might say it back."""
    scheme, _, rest = remote_url.partition("://")
    userinfo = rest.partition("/")[0].rpartition("@")[0]
    username, _, password = userinfo.partition(":")
    token = "" if scheme == "ssh" else username  # https takes a token for a user's name
    secret = password or token
    plain = unquote(secret)
    basic = base64.b64encode(unquote(f"{username}:{password}").encode()).decode()
    found = {secret, plain, quote(plain, safe=""), basic}
    found |= {environ.get(name, "") for name in ("RESULT_HTTP_TOKEN", "SENTRY_DSN")}
    return frozenset(text for text in found if len(text) > 2)


class Output:
    """Standard error, with every secret masked."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted(secrets, key=len, reverse=True)

    def masked(self, text: str) -> str:
        """`text` without the secrets, and without the user part of any URL."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return _USERINFO.sub("***", text)

    def say(self, text: str) -> None:
        """Print, masked."""
        if text:
            print(self.masked(text), file=sys.stderr, flush=True)


class Job:
    """What one call of coat works on: flags, places, and git with its environment."""

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
        self.key = self._ssh_directory() / "coat-key"
        self.git = Git(self.code, git_environment(self.remote, self.key, environ), output)

    def _ssh_directory(self) -> Path:
        """The jobs' own volume where there is one: a user without an account has / for a home."""
        volume = self.root / "home/runner/.ssh"
        home = Path(self.environ.get("HOME") or self.root / "home/runner")
        return volume if volume.is_dir() else home / ".ssh"


def git_environment(remote: Remote, key: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """All that git and its children see. No git configuration of the host or its user is read."""
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
    yield "safe.directory", "*"  # a volume is root's, and the job is not root
    yield "core.hooksPath", os.devnull
    yield "advice.detachedHead", "false"
    yield "http.lowSpeedLimit", "1000"  # bytes/s; less than that for a minute, and git gives up
    yield "http.lowSpeedTime", "60"
    yield "protocol.allow", "never"
    yield "protocol.ext.allow", "never"
    for transport in TRANSPORTS:
        if transport != "file" or remote.scheme == "file":  # submodules stay off this machine
            yield f"protocol.{transport}.allow", "always"
    yield "credential.helper", ""
    if remote.username or remote.password:
        yield f"credential.{remote.origin}.helper", CREDENTIAL_HELPER


def _as_variables(settings: Sequence[tuple[str, str]]) -> dict[str, str]:
    """git-config(1), GIT_CONFIG_COUNT: settings that stand in no file and no argument list."""
    variables = {"GIT_CONFIG_COUNT": str(len(settings))}
    for index, (name, value) in enumerate(settings):
        variables |= {f"GIT_CONFIG_KEY_{index}": name, f"GIT_CONFIG_VALUE_{index}": value}
    return variables


class Git:
    """git in one directory."""

    def __init__(self, directory: Path, environment: Mapping[str, str], output: Output) -> None:
        self._directory = directory
        self._environment = environment
        self._output = output

    def __call__(self, *arguments: str, given: str = "") -> str:
        """What it printed, with `given` for its input. Raises CoatError with git's own reason."""
        ended = self._run(arguments, given)
        reason = self._output.masked(ended.stderr.strip())
        if ended.returncode:
            raise CoatError(f"git {shlex.join(arguments)} ended with {ended.returncode}: {reason}")
        self._output.say(reason)
        return ended.stdout.strip()

    def tried(self, *arguments: str) -> bool:
        """Whether it worked; for attempts whose failure is no error."""
        return self._run(arguments, "").returncode == 0

    def _run(self, arguments: Sequence[str], given: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", "-C", str(self._directory), *arguments],
            env=self._environment,
            input=given,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )


def prepare(options: argparse.Namespace, environ: Mapping[str, str], output: Output) -> None:
    """All that marvin needs: itself, the code, the artifacts."""
    artifacts = _document(options.artifacts or "[]", "--artifacts", list)
    job = Job(options, environ, output)
    place_marvin(job.root / "marvin")
    commit = clone(job)
    for artifact in artifacts:
        download(artifact, job.root / "artifacts", output)
    output.say(f"{job.remote.url} is at {commit} in {job.code}")


def place_marvin(directory: Path) -> None:
    """Copy the marvin beside this file: `marvin.py` in a source tree, `marvin` in an image."""
    beside = (Path(__file__).with_name(name) for name in ("marvin.py", "marvin"))
    source = next((path for path in beside if path.is_file()), None)
    if source is None:
        raise CoatError(f"there is no marvin beside {__file__}; the image is incomplete")
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, directory / "marvin")
    (directory / "marvin").chmod(0o755)


def clone(job: Job) -> str:
    """Fetch and check out. Gives the commit's full id."""
    options, git = job.options, job.git
    oid, base = options.checkout_oid, options.base_branch
    if not _OID.fullmatch(oid):
        raise CoatError("--checkout-oid must be 7 to 64 hexadecimal digits")
    job.code.mkdir(parents=True, exist_ok=True)
    if base:
        _check_branch(git, base, "--base-branch")
    object_format = "sha256" if len(oid) == 64 else "sha1"
    git("init", "--quiet", "--template=", f"--object-format={object_format}")
    git("config", "remote.origin.url", job.remote.url)
    with KeyFile(job.key, job.environ.get("SSH_PRIVATE_KEY", "")):
        commit = fetch(git, base, oid)
        if options.sparse_checkout_path:
            git("sparse-checkout", "set", "--cone", "--stdin", given=options.sparse_checkout_path)
        git("checkout", "--quiet", "--force", "--detach", commit)
        if options.clone_submodules == "true":
            git("submodule", "--quiet", "update", "--init", "--recursive")
    return commit


def _check_branch(git: Git, branch: str, what: str) -> None:
    if not git.tried("check-ref-format", f"refs/heads/{branch}"):
        raise CoatError(f"{what} {branch!r} is not a name that a branch can have")


class KeyFile:
    """The private key as a file while git needs it; gone when marvin gets the same volume."""

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


def fetch(git: Git, base: str, oid: str) -> str:
    """Get the base branch, which an analysis of a change needs, and the commit. Gives its full id.

    Mostly the commit is on the base branch, or the server gives it when asked. An older server
    gives only what a reference names, and takes no abbreviation: then everything is fetched,
    references of pull requests as well.
    """
    fetching = ("fetch", "--quiet", "--no-tags", "--recurse-submodules=no", "origin")
    git(*fetching, f"+refs/heads/{base}:refs/remotes/origin/{base}" if base else "HEAD")
    wanted = f"{oid}^{{commit}}"
    for reference in (oid, "+refs/*:refs/remotes/all/*"):
        if not git.tried("cat-file", "-e", wanted):
            git.tried(*fetching, reference)
    if not git.tried("cat-file", "-e", wanted):
        raise CoatError(f"commit {oid} is not in the repository: no reference leads to it")
    return git("rev-parse", "--verify", wanted)


def download(artifact: Mapping[str, Any], directory: Path, output: Output) -> None:
    """Put the artifact's content at `directory`/{key}."""
    url, key = str(artifact.get("url", "")), str(artifact.get("key", ""))
    target = Path(os.path.normpath(directory / key))
    if directory not in target.parents:
        raise CoatError(f"the artifact key {key!r} leads out of {directory}")
    target.parent.mkdir(parents=True, exist_ok=True)
    request = urllib.request.Request(_web_url(url, f"artifact {key}"))
    with opened(request, f"artifact {key}") as answer, target.open("wb") as file:
        shutil.copyfileobj(answer, file)
    output.say(f"artifact {key}: {target.stat().st_size} bytes")


def _web_url(url: str, what: str) -> str:
    if urlsplit(url).scheme not in ("http", "https"):
        raise CoatError(f"{what} must have an http or https URL")
    return url


def opened(request: urllib.request.Request, what: str) -> HTTPResponse:
    """The answer. A redirection is an error where a token would be carried along."""
    authorized = request.has_header("Authorization")
    redirects = () if authorized else (urllib.request.HTTPRedirectHandler,)
    opener = urllib.request.OpenerDirector()  # build_opener would follow redirections to ftp: too
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        *redirects,
    ):
        opener.add_handler(handler())
    host = urlsplit(request.full_url).netloc
    try:
        answer: HTTPResponse = opener.open(request, timeout=HTTP_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        raise CoatError(f"{what}: {host} answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise CoatError(f"{what}: {host} cannot be reached: {error.reason}") from error
    return answer


def commit_and_publish(
    options: argparse.Namespace,
    environ: Mapping[str, str],
    output: Output,
) -> None:
    """Publishes a failure too, and ends with it then."""
    run_id = options.run_id
    try:
        sha = commit(Job(options, environ, output))
    except FAILURES as error:
        output.say(f"coat: {error}")
        hmessage, reason = "The patches could not be committed.", output.masked(str(error))
        publish(run_id, "", {"code": 1, "hmessage": hmessage, "err": reason}, environ)
        sys.exit(FAILED)
    publish(run_id, sha, {"code": 0, "hmessage": f"Committed as {sha}.", "err": ""}, environ)
    output.say(f"committed and pushed {sha}")


def commit(job: Job) -> str:
    """Clone, apply the patches, commit and push. Gives the new commit's id."""
    title, message, branch, name, email = patch_meta(job.options.patch_meta)
    patches = list(stored_patches(job))
    if not patches:
        raise CoatError("--artifacts names no patch, so there is nothing to commit")
    clone(job)
    _check_branch(job.git, branch, "destination_branch")
    for patch in patches:
        job.git("apply", "--index", "--whitespace=nowarn", "-", given=patch)
    author = ("-c", f"user.name={name}", "-c", f"user.email={email}")
    job.git(*author, "commit", "--quiet", "--no-verify", "--file=-", given=f"{title}\n\n{message}")
    with KeyFile(job.key, job.environ.get("SSH_PRIVATE_KEY", "")):
        job.git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
    return job.git("rev-parse", "HEAD")


def patch_meta(text: str) -> tuple[str, str, str, str, str]:
    """Title, message, branch, author and address. Raises CoatError with all that is missing."""
    document = _document(text, "--patch-meta", dict)
    found = {
        "commit.title": _member(document, "commit", "title"),
        "commit.destination_branch": _member(document, "commit", "destination_branch"),
        "author.name": _member(document, "author", "name"),
        "author.email": _member(document, "author", "email"),
    }
    if missing := [path for path, value in found.items() if not value]:
        raise CoatError(f"--patch-meta lacks {', '.join(missing)}")
    title, branch, name, email = found.values()
    return title, _member(document, "commit", "message"), branch, name, email


def _member(document: Mapping[str, Any], section: str, key: str) -> str:
    inner = document.get(section)
    value = inner.get(key) if isinstance(inner, dict) else None
    return value.strip() if isinstance(value, str) else ""


def _document(text: str, flag: str, kind: type) -> Any:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise CoatError(f"{flag} is not JSON: {error}") from error
    if not isinstance(document, kind):
        raise CoatError(f"{flag} must be a JSON {'object' if kind is dict else 'array'}")
    return document


def stored_patches(job: Job) -> Iterator[str]:
    """The patches that --artifacts names, in its order."""
    if job.options.snippet_storage_type != "http":
        raise CoatError("--snippet-storage-type must be http")
    bucket = _web_url(job.options.snippet_storage_bucket, "--snippet-storage-bucket").rstrip("/")
    artifacts = _document(job.options.artifacts, "--artifacts", dict)
    key = quote(str(artifacts.get("key", "")), safe="")
    for ids in (artifacts.get("patch_ids") or {}).values():
        for patch_id in ids:
            url = f"{bucket}/{key}/{quote(str(patch_id), safe='')}"
            request = urllib.request.Request(url, headers=_bearer(job.environ))
            with opened(request, f"patch {patch_id}") as answer:
                yield answer.read().decode("utf-8", "surrogateescape")


def publish(
    run_id: str,
    commit_sha: str,
    status: Mapping[str, Any],
    environ: Mapping[str, str],
) -> None:
    """Give atlas the result; only a 200 means that it has it."""
    body = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"commit {run_id}")),
        "task": environ.get("RESULT_RMQ_TASK", ""),
        "kwargs": {"run_id": run_id, "commit_sha": commit_sha, "status": status},
        "retries": 0,
    }
    request = urllib.request.Request(
        _web_url(environ.get("RESULT_HTTP_URL", ""), "RESULT_HTTP_URL"),
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **_bearer(environ)},
    )
    with opened(request, "the result") as answer:
        if answer.status != 200:
            raise CoatError(f"atlas answered {answer.status}, not 200: it has not taken the result")


def _bearer(environ: Mapping[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {environ.get('RESULT_HTTP_TOKEN', '')}"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
