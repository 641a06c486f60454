"""Fetching a repository and checking out one commit."""

from __future__ import annotations

import re

from .errors import CoatError
from .git import Git
from .job import Job

_OID = re.compile(r"[0-9a-fA-F]{7,64}")


def clone(job: Job) -> str:
    """Fetch and check out. Gives the commit's full id."""
    options, git = job.options, job.git
    oid, base = options.checkout_oid, options.base_branch
    if not _OID.fullmatch(oid):
        raise CoatError("--checkout-oid must be 7 to 64 hexadecimal digits")
    job.code.mkdir(parents=True, exist_ok=True)
    if base:
        git.check_branch(base, "--base-branch")
    object_format = "sha256" if len(oid) == 64 else "sha1"
    git("init", "--quiet", "--template=", f"--object-format={object_format}")
    git("config", "remote.origin.url", job.remote.url)
    with job.key_file():
        commit = fetch(git, base, oid)
        if options.sparse_checkout_path:
            git("sparse-checkout", "set", "--cone", "--stdin", stdin=options.sparse_checkout_path)
        git("checkout", "--quiet", "--force", "--detach", commit)
        if options.clone_submodules == "true":
            git("submodule", "--quiet", "update", "--init", "--recursive")
    return commit


def fetch(git: Git, base: str, oid: str) -> str:
    """Get the base branch, which an analysis of a change needs, and the commit. Gives its full id.

    Usually the commit is on the base branch, or the server gives it by its id. An older server gives only what a
    reference names, and no server accepts an abbreviated id: then everything is fetched, also the references of pull
    requests.
    """
    fetching = ("fetch", "--quiet", "--no-tags", "--recurse-submodules=no", "origin")
    git(*fetching, f"+refs/heads/{base}:refs/remotes/origin/{base}" if base else "HEAD")
    wanted = f"{oid}^{{commit}}"
    for reference in (oid, "+refs/*:refs/remotes/all/*"):
        if not git.succeeds("cat-file", "-e", wanted):
            git.succeeds(*fetching, reference)
    if not git.succeeds("cat-file", "-e", wanted):
        raise CoatError(f"commit {oid} is not in the repository: no reference leads to it; was it pushed?")
    return git("rev-parse", "--verify", wanted)
