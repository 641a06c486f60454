"""The cluster's daemons, and the enclosure that they run in.

The enclosure is a mount namespace (mount_namespaces(7)). The daemons' mounts, and the files that
they write outside of the state directory, exist only in it. They end with the last daemon, after
`down` as after a crash. In the enclosure

- /run is empty: containerd's shims, network namespaces and programs with fixed paths write there;
- /etc, /opt, /var/lib and /var/log are overlays: they show the host's files, and writes go to the
  state directory (dockerd's /etc/docker, the CNI's /var/lib/cni, the kubelet's
  /var/log/containers);
- a few files of /proc/sys are copies: kubelet and CNI plugins set kernel parameters, which would
  otherwise change the whole machine. So IP forwarding stays off, and a pod reaches this machine
  only.
"""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.errors import ClusterError

from . import cgroups
from .places import STATE_VARIABLE, Places

ENCLOSURE = "enclosure"

_COVERED = ("/etc", "/opt", "/var/lib", "/var/log")
_PARAMETERS = (  # pkg/kubelet/cm's setupKernelTunables; the last one is set by CNI's ptp plugin
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/ipv4/ip_forward",
)
_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_FORK = ("setsid", "--fork")
# Joins its control group, writes its process id, then executes the program in the same process.
_LAUNCH = 'echo $$ >"$1/cgroup.procs" && echo $$ >"$2" && shift 2 && exec "$@"'

_ENCLOSE = """
set -e
mount -t tmpfs -o mode=755 tmpfs /run
for covered in {covered}; do
    upper="$1/upper$covered" work="$1/work$covered"
    mkdir -p "$upper" "$work" "$covered"
    mount -t overlay -o "lowerdir=$covered,upperdir=$upper,workdir=$work" overlay "$covered"
done
for parameter in {parameters}; do
    [ -e "/proc/sys/$parameter" ] || continue
    mkdir -p "$1/parameters/${{parameter%/*}}"
    cat "/proc/sys/$parameter" >"$1/parameters/$parameter"
    mount --bind "$1/parameters/$parameter" "/proc/sys/$parameter"
done
mount --make-rshared /
touch "$1/ready"
exec sleep infinity
"""


@dataclass(frozen=True)
class Daemons:
    """Starts and finds daemons. A daemon's log, pid file and control group have its name."""

    places: Places

    def pid(self, name: str) -> int | None:
        """The daemon's process id, or None if it isn't running."""
        try:
            pid = int(self._file(name, "pid").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if pid in cgroups.members(cgroups.daemon(name)) else None

    def log(self, name: str) -> Path:
        """The file of the daemon's output."""
        return self._file(name, "log")

    def start(self, name: str, *argv: str | Path) -> None:
        """Start the daemon in the enclosure, unless it is running.

        Raises ClusterError if it can't be started. If it ends later, `require` raises.
        """
        if self.pid(name) is None:
            enclosure = self.pid(ENCLOSURE)
            self._launch(name, "nsenter", f"--mount=/proc/{enclosure}/ns/mnt", *argv)

    def enclose(self) -> None:
        """Create the enclosure, unless it exists. A sleeping process keeps its namespace open.

        Raises ClusterError if the state directory is below a directory with an overlay.
        """
        for covered in _COVERED:
            if self.places.state.is_relative_to(covered):
                raise ClusterError(
                    f"the state directory can't be in {covered}, which is an overlay; set {STATE_VARIABLE} to another"
                )
        directory = self.places.state / ENCLOSURE
        directory.mkdir(parents=True, exist_ok=True)
        ready = directory / "ready"
        if self.pid(ENCLOSURE) is None:
            ready.unlink(missing_ok=True)
            script = _ENCLOSE.format(covered=" ".join(_COVERED), parameters=" ".join(_PARAMETERS))
            unshare = ("unshare", "--mount", "--propagation", "private")
            self._launch(ENCLOSURE, *unshare, "sh", "-c", script, "sh", directory)
        while not ready.exists():
            self.require(ENCLOSURE)
            time.sleep(0.02)

    def require(self, *names: str) -> None:
        """Raises ClusterError, with the end of the log, if one of the daemons isn't running."""
        for name in names:
            if self.pid(name) is None:
                tail = "\n".join(self.log(name).read_text(errors="replace").splitlines()[-20:])
                raise ClusterError(f"{name} isn't running; the last lines of {self.log(name)}:\n{tail}")

    def _launch(self, name: str, *argv: str | Path) -> None:
        """Start a process that isn't a child of the caller, so that it doesn't become its zombie."""
        pidfile, scratch = self._file(name, "pid"), self.places.state / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        pidfile.parent.mkdir(parents=True, exist_ok=True)
        pidfile.unlink(missing_ok=True)
        environment = {"PATH": _SEARCH, "HOME": str(self.places.state), "TMPDIR": str(scratch)}
        with self.log(name).open("ab") as log:
            subprocess.run(
                (*_FORK, "sh", "-c", _LAUNCH, "sh", cgroups.daemon(name), pidfile, *argv),
                check=True,
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 10
        while not (pidfile.exists() and pidfile.read_text().endswith("\n")):
            if time.monotonic() > deadline:
                raise ClusterError(f"{name} did not start, see {self.log(name)}")
            time.sleep(0.01)

    def _file(self, name: str, suffix: str) -> Path:
        return self.places.state / "daemons" / f"{name}.{suffix}"
