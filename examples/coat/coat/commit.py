"""coat as the main container: commits stored patches, pushes them, and publishes the result."""

from __future__ import annotations

import argparse
import json
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from .clone import clone
from .errors import FAILURES, CoatError
from .job import Job, parse_flag
from .output import Output
from .web import bearer, open_url, web_url


def commit_and_publish(options: argparse.Namespace, environ: Mapping[str, str], output: Output) -> bool:
    """Commit, and publish the result or the failure. Gives whether the commit succeeded."""
    run_id = options.run_id
    try:
        sha = commit(Job(options, environ, output))
    except FAILURES as error:
        output.write(f"coat: {error}")
        hmessage, reason = "The patches could not be committed.", output.masked(str(error))
        publish(run_id, "", {"code": 1, "hmessage": hmessage, "err": reason}, environ)
        return False
    publish(run_id, sha, {"code": 0, "hmessage": f"Committed as {sha}.", "err": ""}, environ)
    output.write(f"committed and pushed {sha}")
    return True


def commit(job: Job) -> str:
    """Clone, apply the patches, commit and push. Gives the new commit's id."""
    meta = PatchMeta.parse(job.options.patch_meta)
    patches = list(stored_patches(job))
    if not patches:
        raise CoatError("--artifacts names no patch, so there is nothing to commit")
    clone(job)
    job.git.check_branch(meta.branch, "destination_branch")
    for patch in patches:
        job.git("apply", "--index", "--whitespace=nowarn", "-", stdin=patch)
    author = ("-c", f"user.name={meta.name}", "-c", f"user.email={meta.email}")
    message = f"{meta.title}\n\n{meta.message}"
    job.git(*author, "commit", "--quiet", "--no-verify", "--file=-", stdin=message)
    with job.key_file():
        job.git("push", "--quiet", "origin", f"HEAD:refs/heads/{meta.branch}")
    return job.git("rev-parse", "HEAD")


@dataclass(frozen=True)
class PatchMeta:
    """What `--patch-meta` says: the commit, its author, and the branch to push."""

    title: str
    message: str
    branch: str
    name: str
    email: str

    @classmethod
    def parse(cls, text: str) -> PatchMeta:
        """Raises CoatError with everything that is missing."""
        document = parse_flag(text, "--patch-meta", dict)
        required = {
            "commit.title": _member(document, "commit", "title"),
            "commit.destination_branch": _member(document, "commit", "destination_branch"),
            "author.name": _member(document, "author", "name"),
            "author.email": _member(document, "author", "email"),
        }
        if missing := [path for path, value in required.items() if not value]:
            raise CoatError(f"--patch-meta lacks {', '.join(missing)}")
        title, branch, name, email = required.values()
        return cls(title, _member(document, "commit", "message"), branch, name, email)


def _member(document: Mapping[str, Any], section: str, key: str) -> str:
    inner = document.get(section)
    value = inner.get(key) if isinstance(inner, dict) else None
    return value.strip() if isinstance(value, str) else ""


def stored_patches(job: Job) -> Iterator[str]:
    """The patches that --artifacts names, in its order."""
    if job.options.snippet_storage_type != "http":
        raise CoatError("--snippet-storage-type must be http")
    bucket = web_url(job.options.snippet_storage_bucket, "--snippet-storage-bucket").rstrip("/")
    artifacts = parse_flag(job.options.artifacts, "--artifacts", dict)
    key = quote(str(artifacts.get("key", "")), safe="")
    for ids in (artifacts.get("patch_ids") or {}).values():
        for patch_id in ids:
            url = f"{bucket}/{key}/{quote(str(patch_id), safe='')}"
            request = urllib.request.Request(url, headers=bearer(job.environ))
            with open_url(request, f"patch {patch_id}") as answer:
                yield answer.read().decode("utf-8", "surrogateescape")


def publish(
    run_id: str,
    commit_sha: str,
    status: Mapping[str, Any],
    environ: Mapping[str, str],
) -> None:
    """Post the result to atlas. Raises CoatError for any answer but 200."""
    body = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"commit {run_id}")),
        "task": environ.get("RESULT_RMQ_TASK", ""),
        "kwargs": {"run_id": run_id, "commit_sha": commit_sha, "status": status},
        "retries": 0,
    }
    request = urllib.request.Request(
        web_url(environ.get("RESULT_HTTP_URL", ""), "RESULT_HTTP_URL"),
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **bearer(environ)},
    )
    with open_url(request, "the result") as answer:
        if answer.status != 200:
            raise CoatError(f"atlas answered {answer.status}, not 200: it has not accepted the result")
