"""The control groups of the cluster: by them `down` finds every process, however it was started.

Everything runs below one group of ours, in every hierarchy (cgroups(7)): the daemons because they
are started in it, containers because containerd, dockerd, kubelet and Nomad are told to make theirs
below it. A process can't leave its group by forking, so no shim, pod or task is missed.
"""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.errors import ClusterError

NAME = "orchestrator-cluster"
PATH = f"/{NAME}"  # as the programs want it, relative to the hierarchy

_ROOT = Path("/sys/fs/cgroup")
_CPUSET = ("cpuset.cpus", "cpuset.mems")


def available() -> bool:
    """Whether control groups are mounted where every distribution mounts them."""
    return bool(_hierarchies())


def prepare() -> None:
    """Make the group in every hierarchy; the kubelet refuses a root that isn't there.

    Under version 1 a new group has no CPUs until it is given some (cpuset(7)).
    """
    for hierarchy in _hierarchies():
        group = hierarchy / NAME
        group.mkdir(exist_ok=True)
        for file in _CPUSET if hierarchy.name == "cpuset" else ():
            (group / file).write_text((hierarchy / file).read_text())


def daemon(name: str) -> Path:
    """The group of one daemon and all that it starts; made when absent.

    One hierarchy suffices for finding processes; `pids` is one that no program here moves out of.
    """
    base = _ROOT / "pids" if (_ROOT / "pids").is_dir() else _ROOT
    group = base / NAME / "daemons" / name
    group.mkdir(parents=True, exist_ok=True)
    return group


def members(group: Path) -> set[int]:
    """The processes in the group itself, not those in groups below; zombies don't count."""
    try:
        return {int(line) for line in (group / "cgroup.procs").read_text().split()}
    except OSError:  # gone meanwhile
        return set()


def occupied() -> bool:
    """Whether any process of a cluster is alive."""
    return any(members(group) for group in _groups())


def kill_all(seconds: float = 60) -> None:
    """Kill every process of the cluster, and wait until none is left.

    Raises ClusterError when some are left after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while left := {pid for group in _groups() for pid in members(group)}:
        if time.monotonic() > deadline:
            raise ClusterError(f"these processes can't be killed: {sorted(left)}")
        _thaw()
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


def remove(seconds: float = 30) -> None:
    """Remove all groups, deepest first; the kernel may take a moment after the last process."""
    deadline = time.monotonic() + seconds
    while groups := list(_groups()):
        for group in groups:
            try:
                group.rmdir()
            except OSError as error:
                if time.monotonic() > deadline:
                    raise ClusterError(f"{group} can't be removed: {error}") from error
        time.sleep(0.05)


def _thaw() -> None:
    """Frozen processes (a paused container) die only once they are thawed, under version 1."""
    for group in _groups():
        state = group / "freezer.state"
        if state.exists():
            state.write_text("THAWED")


def _groups() -> Iterator[Path]:
    """All groups of the cluster, in all hierarchies, deepest first."""
    for hierarchy in _hierarchies():
        for directory, _, _ in os.walk(hierarchy / NAME, topdown=False):
            yield Path(directory)


def _hierarchies() -> list[Path]:
    """Where the hierarchies are mounted: below the root under version 1, the root under 2."""
    if (_ROOT / "cgroup.procs").exists():
        return [_ROOT]
    return sorted(path.parent for path in _ROOT.glob("*/cgroup.procs") if not path.is_symlink())
