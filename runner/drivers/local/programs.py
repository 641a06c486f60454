"""What a job's containers are on this host: which program stands for an image, and what that program is given. Pure.

Volumes are directories below the job's own root, and so are /toolbox and /tmp, which images bring. A program on the
host finds them by ORCHESTRATOR_ROOT, and by its variables: one that names such a path, or a path below it, is given
the path on the host instead. Arguments stay as they are.
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
    """A container as the shim runs it. Secrets are named, and looked up when the program is started."""

    role: str
    name: str
    image: str = ""
    argv: tuple[Text, ...] = ()
    env: dict[str, Text] = {}
    directory: str = ""
    seconds: int = 0


def programs(job: JobSpec, root: str, images: Mapping[str, LocalImage], host: Mapping[str, str]) -> tuple[Program, ...]:
    """The job's containers, init first. `host` is what programs see of this host's environment.

    An entry may be named after a container as well: ssh-verify runs a script of ours in coat's image.

    Raises Rejected for an image that nothing stands for.
    """
    seconds = {"init": job.deadlines.clone, "main": job.deadlines.run}
    roles = {"init": job.init, "main": job.main}
    return tuple(
        Program(
            role=role,
            name=container.name,
            image=container.image,
            argv=_argv(container, image := images.get(container.name) or stand_in(container.image, images)),
            env=_environment(job, container, image, root, host),
            directory=f"{root}{CODE}",
            seconds=seconds[role],
        )
        for role, container in roles.items()
        if container
    )


def directories(job: JobSpec, root: str) -> tuple[str, ...]:
    """What is made before the programs start; a secret that a cluster would have is an empty directory here."""
    return tuple(dict.fromkeys(f"{root}{path}" for path in (CODE, HOME, *_mounts(job))))


def stand_in(image: str, images: Mapping[str, LocalImage]) -> LocalImage:
    """What stands for an image: the first whose glob fits the last part of its name, without tag and digest."""
    name = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    for glob, found in images.items():
        if fnmatchcase(name, glob):
            return found
    raise Rejected(f"nothing on this host stands for the image {image}; add {name!r} to local.images")


def _argv(container: Container, image: LocalImage) -> tuple[Text, ...]:
    shown = _expands(image)
    args = [each if shown or isinstance(each, str) else f"$({each.name})" for each in container.args]
    return (*(_absolute(image.command) or container.command), *args)


def _absolute(command: tuple[str, ...]) -> tuple[str, ...]:
    """A relative path is meant from where we were started; where the program is, the code under analysis lies."""
    if command and "/" in command[0]:
        return (os.path.abspath(command[0]), *command[1:])
    return command


def _environment(
    job: JobSpec, container: Container, image: LocalImage, root: str, host: Mapping[str, str]
) -> dict[str, Text]:
    """The host's, ours, the secrets that arguments refer to, and the container's own, which come first.

    CODE_PATH is there even for containers that are not told it, since it is no fixed path here.
    """
    places = {"ORCHESTRATOR_ROOT": "", "HOME": HOME, "TMPDIR": TEMPORARY, "CODE_PATH": CODE}
    ours = {name: f"{root}{place}" for name, place in places.items()}
    referred = {each.name: each for each in container.args if isinstance(each, SecretRef) and not _expands(image)}
    own = {name: _inside(value, root, _mounts(job)) for name, value in container.env}
    return {**host, **ours, **referred, **own}


def _expands(image: LocalImage) -> bool:
    return image.secret_arguments == "expand"  # noqa: S105  (no password)


def _inside(value: Text, root: str, mounts: tuple[str, ...]) -> Text:
    """A path within the job's file system as a path on the host."""
    if isinstance(value, str) and any(value == mount or value.startswith(f"{mount}/") for mount in mounts):
        return f"{root}{value}"
    return value


def _mounts(job: JobSpec) -> tuple[str, ...]:
    return (*(volume.path for volume in job.volumes), TOOLBOX, TEMPORARY)
