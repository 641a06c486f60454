"""Turns a job's containers into programs of this host: the command, its arguments and its environment. Pure.

Volumes are directories below the job's own root, and so are /toolbox and /tmp, which images contain. A program finds
the root in ORCHESTRATOR_ROOT. A variable whose value is such a path, or a path below it, is rewritten to the path on
the host. Arguments are not rewritten.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase

from runner.config.drivers import LocalImage
from runner.errors import Rejected
from runner.jobs import Container, JobSpec, SecretRef, Text, Value

CODE, HOME, TOOLBOX, TEMPORARY = "/code", "/home/runner", "/toolbox", "/tmp"  # noqa: S108  (within the job's root)


class Program(Value, frozen=True, kw_only=True):
    """A container as the shim runs it. It refers to secrets by name; the shim inserts the values at the start."""

    role: str
    name: str
    image: str = ""
    argv: tuple[Text, ...] = ()
    env: dict[str, Text] = {}
    directory: str = ""
    seconds: int = 0


def programs(job: JobSpec, root: str, images: Mapping[str, LocalImage], host: Mapping[str, str]) -> tuple[Program, ...]:
    """The job's containers as programs, init first. `host` holds the host's variables that programs get.

    A key of `images` may also be the name of a container: ssh-verify runs a script of this project in coat's image.

    Raises Rejected for an image that no entry matches.
    """
    seconds = {"init": job.deadlines.clone, "main": job.deadlines.run}
    roles = {"init": job.init, "main": job.main}
    return tuple(
        Program(
            role=role,
            name=container.name,
            image=container.image,
            argv=_argv(container, image := images.get(container.name) or local_image(container.image, images)),
            env=_environment(job, container, image, root, host),
            directory=f"{root}{CODE}",
            seconds=seconds[role],
        )
        for role, container in roles.items()
        if container
    )


def directories(job: JobSpec, root: str) -> tuple[str, ...]:
    """The directories to create before the programs start. A cluster's Secret volume is an empty directory here."""
    return tuple(dict.fromkeys(f"{root}{path}" for path in (CODE, HOME, *_mounts(job))))


def local_image(image: str, images: Mapping[str, LocalImage]) -> LocalImage:
    """The first entry whose glob matches the last part of the image's name, without tag and digest."""
    name = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    for glob, found in images.items():
        if fnmatchcase(name, glob):
            return found
    raise Rejected(f"no entry of local.images matches the image {image}; add {name!r} to local.images")


def _argv(container: Container, image: LocalImage) -> tuple[Text, ...]:
    expands = _expands(image)
    args = [each if expands or isinstance(each, str) else f"$({each.name})" for each in container.args]
    return (*(_absolute(image.command) or container.command), *args)


def _absolute(command: tuple[str, ...]) -> tuple[str, ...]:
    """A relative path is resolved here, since the program starts in the directory of the code under analysis."""
    if command and "/" in command[0]:
        return (os.path.abspath(command[0]), *command[1:])
    return command


def _environment(
    job: JobSpec, container: Container, image: LocalImage, root: str, host: Mapping[str, str]
) -> dict[str, Text]:
    """The program's variables: the host's, the driver's, the secrets in arguments, the container's. The last one wins.

    CODE_PATH is set even if the container does not define it, since the path differs from job to job.
    """
    paths = {"ORCHESTRATOR_ROOT": "", "HOME": HOME, "TMPDIR": TEMPORARY, "CODE_PATH": CODE}
    from_driver = {name: f"{root}{path}" for name, path in paths.items()}
    referred = {each.name: each for each in container.args if isinstance(each, SecretRef) and not _expands(image)}
    own = {name: _on_host(value, root, _mounts(job)) for name, value in container.env}
    return {**host, **from_driver, **referred, **own}


def _expands(image: LocalImage) -> bool:
    """Whether arguments contain the secrets' values."""
    return image.secret_arguments == "expand"  # noqa: S105  (no password)


def _on_host(value: Text, root: str, mounts: tuple[str, ...]) -> Text:
    """The path on the host, if the value is a path in the job's file system; else the value."""
    if isinstance(value, str) and any(value == mount or value.startswith(f"{mount}/") for mount in mounts):
        return f"{root}{value}"
    return value


def _mounts(job: JobSpec) -> tuple[str, ...]:
    return (*(volume.path for volume in job.volumes), TOOLBOX, TEMPORARY)
