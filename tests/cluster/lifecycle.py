"""The operations on the cluster: start, stop, query, and load images. For tests and the command line."""

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
    """Start the cluster, or repair or rebuild it if it isn't ready. Returns its addresses.

    Takes about ten minutes if nothing was built before, seconds otherwise. Any number of processes
    may call it at once. Raises ClusterError with the reason if the cluster can't run.
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


def build() -> None:
    """Install packages and build all programs and the root file system, and start nothing.

    So that it can run in the background, before anything needs the cluster. Raises ClusterError
    with the reason if the cluster can't run.
    """
    with _locked():
        if reason := missing():
            raise ClusterError(reason)
        packages.install()
        for recipe in (*binaries.RECIPES, binaries.HELM):
            binaries.build(places(), recipe)
        rootfs(places())


def down() -> None:
    """End the cluster and remove its state, but not the cache. Does nothing if there is no cluster.

    Raises ClusterError if a process or a file can't be removed.
    """
    with _locked(), step("taking the cluster down"):
        Stack(places()).end()


def describe() -> Cluster:
    """Addresses and credentials of the running cluster. Raises ClusterError if there is none."""
    return Stack(places()).access


def status() -> tuple[dict[str, int | None], str | None]:
    """The process id of every daemon; and why the cluster isn't ready, or None if it is."""
    stack = Stack(places())
    return {name: stack.daemons.pid(name) for name in DAEMONS}, stack.trouble()


def missing() -> str | None:
    """Why the cluster can't run on this machine, as the reason of a skipped test; None if it can."""
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
    """An image on the small Debian of `rootfs`; see `images.image`. A job names its `reference`."""
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
    """Load the image for pods, unless it is loaded. Jobs must use pull policy IfNotPresent."""
    Stack(places()).containerd.load(loaded)


def load_into_nomad(loaded: Image) -> None:
    """Load the image for Nomad's docker driver, unless it is loaded."""
    Stack(places()).docker.load(loaded)


def _start(stack: Stack) -> None:
    """Start or repair the stack. If a repair fails, rebuild it once.

    Without its enclosure the stack can't be repaired: daemons that still run are in the old one.
    """
    base = rootfs(stack.places)
    repairing = stack.daemons.pid("enclosure") is not None
    if not repairing:
        if cgroups.occupied() and not stack.places.state.exists():
            raise ClusterError(
                "a cluster with another state directory is running; end it with `python -m tests.cluster down`"
            )
        stack.end()
    try:
        with step("repairing the cluster" if repairing else "starting the cluster"):
            stack.start(base)
    except ClusterError as error:
        if not repairing:
            raise
        say(f"the repair has failed, starting anew: {error}")
        stack.end()
        with step("starting the cluster"):
            stack.start(base)


@contextmanager
def _locked() -> Iterator[None]:
    """Allow one `up` or `down` at a time on this machine. The lock ends with its process (flock(2))."""
    path = places().lock
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step("waiting for another `up` or `down`"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
