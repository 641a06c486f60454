"""The cluster's long-running programs, and the enclosure that they run in.

The enclosure is a mount namespace (mount_namespaces(7)) that only these programs use. Their mounts,
and their files outside of the state directory, exist only there. They disappear when the last of the
programs ends, by `down` or by a crash. In the enclosure

- /run is empty, for containerd's shims, network namespaces and programs with fixed paths below /run;
- /etc, /opt, /var/lib and /var/log are overlays: reads see the host's files, writes go to the state
  directory (dockerd's /etc/docker, the CNI's /var/lib/cni, the kubelet's /var/log/containers);
- some files of /proc/sys are copies: kubelet and CNI plugins set kernel parameters, which would
  otherwise change the whole machine. IP forwarding therefore stays off, so a pod reaches this machine
  and nothing else.
"""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.errors import ClusterError

from . import cgroups
from .places import Places

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
# The shell joins the control group, writes its process id, then execs the program: one process.
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
    """Starts and finds daemons; each has a log, a process id and a control group by its name."""

    places: Places

    def pid(self, name: str) -> int | None:
        """The daemon's process id, or None when it isn't running."""
        try:
            pid = int(self._file(name, "pid").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if pid in cgroups.members(cgroups.daemon(name)) else None

    def log(self, name: str) -> Path:
        """The file with the daemon's output."""
        return self._file(name, "log")

    def start(self, name: str, *argv: str | Path) -> None:
        """Start the daemon in the enclosure unless it is running.

        Raises ClusterError when it can't be started. `require` reports one that ends later.
        """
        if self.pid(name) is None:
            holder = self.pid(ENCLOSURE)
            self._launch(name, "nsenter", f"--mount=/proc/{holder}/ns/mnt", *argv)

    def enclose(self) -> None:
        """Make the enclosure unless it exists. It lasts as long as the process that holds it."""
        for covered in _COVERED:
            if self.places.state.is_relative_to(covered):
                raise ClusterError(f"the state can't be in {covered}: overlays don't stack there")
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
        """Raises ClusterError with the end of the log when one of the daemons isn't running."""
        for name in names:
            if self.pid(name) is None:
                tail = "\n".join(self.log(name).read_text(errors="replace").splitlines()[-20:])
                raise ClusterError(f"{name} has ended; the last lines of {self.log(name)}:\n{tail}")

    def _launch(self, name: str, *argv: str | Path) -> None:
        """Start a detached process, so that it becomes no zombie of a test run."""
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
                raise ClusterError(f"{name} did not start within 10 s; see {self.log(name)}")
            time.sleep(0.01)

    def _file(self, name: str, suffix: str) -> Path:
        return self.places.state / "daemons" / f"{name}.{suffix}"
