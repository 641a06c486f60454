"""The control groups of the cluster. `down` finds every process by them.

All processes run below one group, in every hierarchy (cgroups(7)). Daemons are started in it.
containerd, dockerd, kubelet and Nomad are configured to create their containers' groups below it. A
process can't leave its group by forking, so no shim, pod or task is missed.
"""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.errors import ClusterError

NAME = "orchestrator-cluster"
PATH = f"/{NAME}"  # for the programs' configuration, relative to the hierarchy

_ROOT = Path("/sys/fs/cgroup")
_CPUSET = ("cpuset.cpus", "cpuset.mems")


def available() -> bool:
    """Whether control groups are mounted at /sys/fs/cgroup, as in every distribution."""
    return bool(_hierarchies())


def prepare() -> None:
    """Create the group in every hierarchy. The kubelet refuses a root group that doesn't exist.

    Under version 1 a new group has no CPUs until they are assigned (cpuset(7)).
    """
    for hierarchy in _hierarchies():
        group = hierarchy / NAME
        group.mkdir(exist_ok=True)
        for file in _CPUSET if hierarchy.name == "cpuset" else ():
            (group / file).write_text((hierarchy / file).read_text())


def daemon(name: str) -> Path:
    """Create the group of one daemon and its children, unless it exists.

    One hierarchy is enough to find processes. No daemon moves its processes out of `pids`.
    """
    base = _ROOT / "pids" if (_ROOT / "pids").is_dir() else _ROOT
    group = base / NAME / "daemons" / name
    group.mkdir(parents=True, exist_ok=True)
    return group


def members(group: Path) -> set[int]:
    """The pids in the group, without those in groups below it and without zombies."""
    try:
        return {int(line) for line in (group / "cgroup.procs").read_text().split()}
    except OSError:  # the group was removed meanwhile
        return set()


def occupied() -> bool:
    """Whether any process of a cluster is running."""
    return any(members(group) for group in _groups())


def kill_all(seconds: float = 60) -> None:
    """Kill every process of the cluster, and wait until none is left.

    Raises ClusterError if some are left after `seconds`.
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
    """Remove all groups, deepest first. The kernel may refuse for a moment after the last process ends.

    Raises ClusterError if a group is left after `seconds`.
    """
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
    """Thaw all groups. Under version 1, a frozen process (a paused container) doesn't end before that."""
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
    """The mount points of the hierarchies: below the root under version 1, the root under version 2."""
    if (_ROOT / "cgroup.procs").exists():
        return [_ROOT]
    return sorted(path.parent for path in _ROOT.glob("*/cgroup.procs") if not path.is_symlink())
