"""What tests and the command line do with the cluster."""

import fcntl
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from . import binaries, images
from .access import Cluster
from .errors import ClusterError
from .images import Directory, File, Image
from .machine import cgroups, packages
from .machine.places import places
from .progress import say, step
from .rootfs import rootfs
from .stack import DAEMONS, Stack


def up() -> Cluster:
    """The running cluster; started, repaired or rebuilt when it isn't in order.

    Takes about ten minutes when nothing was built before, seconds otherwise. Any number of
    processes may call it at once. Raises ClusterError with the reason when there can be none.
    """
    with _locked():
        stack = Stack(places())
        if stack.trouble() is None:
            return stack.access
        if reason := missing():
            raise ClusterError(reason)
        packages.install()
        for recipe in binaries.RECIPES:
            binaries.build(stack.places, recipe)
        _start(stack)
        return stack.access


def down() -> None:
    """End the cluster and remove all of it but the cache; nothing happens when there is none.

    Raises ClusterError when something resists.
    """
    with _locked(), step("taking the cluster down"):
        Stack(places()).end()


def describe() -> Cluster:
    """How to use the cluster that `up` has started; raises ClusterError when there is none."""
    return Stack(places()).access


def status() -> tuple[dict[str, int | None], str | None]:
    """The process id of every daemon, and what is wrong, or None when all is ready."""
    stack = Stack(places())
    return {name: stack.daemons.pid(name) for name in DAEMONS}, stack.trouble()


def missing() -> str | None:
    """Why the cluster can't run on this machine, in words for a skipped test, or None."""
    if platform.system() != "Linux":
        return "the test cluster needs Linux"
    if os.geteuid() != 0:
        return "the test cluster needs root"
    if not cgroups.available():
        return "the test cluster needs control groups, mounted at /sys/fs/cgroup"
    if (absent := packages.absent()) and not shutil.which("apt-get"):
        return f"the test cluster needs apt-get to install {', '.join(absent)}"
    unbuilt = [r.name for r in binaries.RECIPES if not binaries.built(places(), r)]
    if unbuilt and not shutil.which("go"):
        return f"the test cluster needs Go to build {' and '.join(unbuilt)}"
    return None


def image(
    name: str,
    *,
    files: Mapping[str, File] | None = None,
    directories: Mapping[str, Directory] | None = None,
    env: Mapping[str, str] | None = None,
    entrypoint: tuple[str, ...] = (),
    user: str = "1000:3000",
    workdir: str = "/",
) -> Image:
    """An image on our small Debian; see `images.image`. Its `reference` is what a job names."""
    return images.image(
        rootfs(places()),
        name,
        files=files,
        directories=directories,
        env=env,
        entrypoint=entrypoint,
        user=user,
        workdir=workdir,
    )


def load_into_kubernetes(loaded: Image) -> None:
    """Make the image known to pods; costs nothing when it is. Use pull policy IfNotPresent."""
    Stack(places()).containerd.load(loaded)


def load_into_nomad(loaded: Image) -> None:
    """Make the image known to the docker driver; costs nothing when it is."""
    Stack(places()).docker.load(loaded)


def _start(stack: Stack) -> None:
    """Start or repair the stack; rebuild it once if that fails.

    Without its enclosure nothing can be repaired: what is still running is in the old one.
    """
    base = rootfs(stack.places)
    repairing = stack.daemons.pid("enclosure") is not None
    if not repairing:
        if cgroups.occupied() and not stack.places.state.exists():
            raise ClusterError("one runs already, of another state directory; `down` would end it")
        stack.end()
    try:
        with step("repairing the cluster" if repairing else "starting the cluster"):
            stack.start(base)
    except ClusterError as error:
        if not repairing:
            raise
        say(f"beyond repair: {error}")
        stack.end()
        with step("starting the cluster"):
            stack.start(base)


@contextmanager
def _locked() -> Iterator[None]:
    """One `up` or `down` at a time on this machine; the lock goes with its process (flock(2))."""
    path = places().lock
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step("waiting for another `up` or `down`"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
