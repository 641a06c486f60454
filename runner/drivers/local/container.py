"""One container of the local driver: a program on this host, run to its end. Standard library only.

The program runs below a keeper, which ends what the program leaves behind (`keeper`); its output goes to a bounded log
without secrets (`container_log`).

Not enforced: the limits on CPU and memory. RLIMIT_AS and RLIMIT_DATA break runtimes that reserve address space (Go,
Java, Node) and count for each process alone; a cgroup would need a host that delegates one to us. An end by the
kernel's out-of-memory killer is reported as such only where the count of such kills in our cgroup rose meanwhile.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress

from . import keeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .container_log import ContainerLog

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

POLL_SECONDS = 0.2
"""Between two checks for a cancellation."""

_CHUNK = 1 << 16
_ESCALATION = (keeper.STOP, keeper.KILL, signal.SIGKILL)
"""What a keeper is sent to end its container, one after the other, each after GRACE."""

_OOM_COUNTS = {"": "/sys/fs/cgroup{}/memory.events", "memory": "/sys/fs/cgroup/memory{}/memory.oom_control"}
"""The file that counts `oom_kill`, by the controllers of a cgroup: of version 2, and of version 1."""


class Exit:
    """How a program ended: `code` as a shell gives it, None where that is not known."""

    def __init__(self, code: int | None, *, stopped: str = "", error: str = "", out_of_memory: bool = False) -> None:
        self.code = code
        self.stopped = stopped
        """`cancelled` or `timed out`, where it was we who ended the program."""
        self.error = error
        """Why it could not be started."""
        self.out_of_memory = out_of_memory


def run(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    directory: str,
    log: ContainerLog,
    seconds: float,
    cancelled: Callable[[], bool],
) -> Exit:
    """Run a program in a directory to its end, for `seconds` at most, or until it is cancelled.

    Nothing of it runs afterwards. It sees `env` and nothing else; its output goes to `log`.
    """
    kills = oom_kills()
    container = _Container(argv, env, directory, log)
    stopped = _attend(container, time.monotonic() + seconds, cancelled)
    code, error = container.finish()
    by_kernel = code == 128 + signal.SIGKILL and not stopped and oom_kills() > kills
    return Exit(code, stopped=stopped, error=error, out_of_memory=by_kernel)


def oom_kills() -> int:
    """How many processes the kernel has killed for memory in our cgroup; 0 where it doesn't say."""
    for _, controllers, path in _groups():
        with suppress(OSError), open(_OOM_COUNTS.get(controllers, "").format(path)) as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
    return 0


def _groups() -> list[list[str]]:
    """The lines of /proc/self/cgroup: an id, controllers and a path each (cgroups(7))."""
    with suppress(OSError), open("/proc/self/cgroup") as groups:
        return [line.rstrip("\n").split(":", 2) for line in groups]
    return []


def _attend(container: _Container, deadline: float, cancelled: Callable[[], bool]) -> str:
    """Pass on the output until the container has ended, and end it when it is time. Gives the reason for that."""
    stopped, ladder, due = "", iter(_ESCALATION), 0.0
    while container.pump():
        now = time.monotonic()
        if not stopped and container.program_runs:
            stopped = "cancelled" if cancelled() else "timed out" if now >= deadline else ""
        if stopped and now >= due:
            os.kill(container.keeper, next(ladder, signal.SIGKILL))
            due = now + GRACE
    return stopped


class _Container:
    """A keeper that has been started, and the two pipes from it: the program's output, and how it ended."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], directory: str, log: ContainerLog) -> None:
        self._log = log
        self._report = b""
        self._output, output = os.pipe()
        self._status, status = os.pipe()
        # The keeper waits for these signals, and must not die of one that comes before it does.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (keeper.STOP, keeper.KILL, keeper.ENDED))
        try:
            shim, self.keeper = os.getpid(), os.fork()
            if self.keeper == 0:
                keeper.keep(lambda: keeper.become(argv, env, directory, output, status), shim, output, status)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(output)
            os.close(status)
        self._poll = select.poll()
        self._poll.register(self._output, select.POLLIN)
        self._poll.register(self._status, select.POLLIN)

    @property
    def program_runs(self) -> bool:
        """Whether the program has not ended, as far as is known."""
        return not self._report

    def pump(self) -> bool:
        """Log what there is, waiting a little for it. False once the keeper has ended."""
        for descriptor, _ in self._poll.poll(POLL_SECONDS * 1000):
            data = os.read(descriptor, _CHUNK)
            if descriptor == self._status:
                self._report += data
                if not data:
                    return False
            elif data:
                self._log.write(data)
            else:
                self._poll.unregister(self._output)
        return True

    def finish(self) -> tuple[int | None, str]:
        """Reap the keeper and what it may have left, and log the rest. Gives the exit code and why there is none."""
        os.waitpid(self.keeper, 0)
        keeper.end_descendants()
        os.set_blocking(self._output, False)
        with suppress(BlockingIOError):
            while data := os.read(self._output, _CHUNK):
                self._log.write(data)
        os.close(self._output)
        os.close(self._status)
        return _parse(self._report)


def _parse(report: bytes) -> tuple[int | None, str]:
    """The lines `error {text}` and `exit {wait status}`, of which either may be missing."""
    said = dict(line.split(" ", 1) for line in report.decode(errors="replace").splitlines())
    if "error" in said or "exit" not in said:
        return None, said.get("error", "")
    code = os.waitstatus_to_exitcode(int(said["exit"]))
    return (code if code >= 0 else 128 - code), ""
