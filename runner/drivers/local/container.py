"""Runs one container of the local driver, a program on this host, to its end. Standard library only.

The program is a child of a keeper process, which kills the processes that the program leaves (`keeper`). Its output
goes to a bounded log without secrets (`container_log`).

Limits on CPU and memory are not enforced. RLIMIT_AS and RLIMIT_DATA break runtimes that reserve address space (Go,
Java, Node), and apply to each process alone. A cgroup would need a host that delegates one to this process. A kill by
the kernel's out-of-memory killer is recognised only if the kill count of this process's cgroup rose during the run.
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
"""Seconds between two checks for a cancellation."""

_CHUNK = 1 << 16
_ESCALATION = (keeper.STOP, keeper.KILL, signal.SIGKILL)
"""The signals that the keeper is sent to end its container, in this order, GRACE seconds apart."""

_OOM_COUNTS = {"": "/sys/fs/cgroup{}/memory.events", "memory": "/sys/fs/cgroup/memory{}/memory.oom_control"}
"""The file with the count `oom_kill`, by the controllers of a cgroup: version 2 has none, version 1 has `memory`."""


class Exit:
    """How a program ended. `code` is the exit code as a shell reports it, or None if it is not known."""

    def __init__(self, code: int | None, *, stopped: str = "", error: str = "", out_of_memory: bool = False) -> None:
        self.code = code
        self.stopped = stopped
        """`cancelled` or `timed out` if the shim ended the program, else empty."""
        self.error = error
        """Why the program could not be started."""
        self.out_of_memory = out_of_memory


def run(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    directory: str,
    output_log: ContainerLog,
    seconds: float,
    cancelled: Callable[[], bool],
) -> Exit:
    """Run a program in a directory to its end, for at most `seconds`, or until `cancelled` gives True.

    When this returns, none of its processes is left. Its environment is `env` alone; its output goes to `output_log`.
    """
    kills = oom_kills()
    container = _Container(argv, env, directory, output_log)
    stopped = _supervise(container, time.monotonic() + seconds, cancelled)
    code, error = container.finish()
    by_kernel = code == 128 + signal.SIGKILL and not stopped and oom_kills() > kills
    return Exit(code, stopped=stopped, error=error, out_of_memory=by_kernel)


def oom_kills() -> int:
    """How many processes of this process's cgroup the out-of-memory killer has killed; 0 if that is not known."""
    for _, controllers, path in _groups():
        with suppress(OSError), open(_OOM_COUNTS.get(controllers, "").format(path)) as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
    return 0


def _groups() -> list[list[str]]:
    """The lines of /proc/self/cgroup, each split into id, controllers and path (cgroups(7))."""
    with suppress(OSError), open("/proc/self/cgroup") as groups:
        return [line.rstrip("\n").split(":", 2) for line in groups]
    return []


def _supervise(container: _Container, deadline: float, cancelled: Callable[[], bool]) -> str:
    """Log the output until the container has ended; end it at the deadline or when cancelled. Gives Exit.stopped."""
    stopped, signals, due = "", iter(_ESCALATION), 0.0
    while container.pump():
        now = time.monotonic()
        if not stopped and container.program_runs:
            stopped = "cancelled" if cancelled() else "timed out" if now >= deadline else ""
        if stopped and now >= due:
            os.kill(container.keeper, next(signals, signal.SIGKILL))
            due = now + GRACE
    return stopped


class _Container:
    """A running keeper, and the two pipes from it: the program's output, and the status (see `_parse`)."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], directory: str, output_log: ContainerLog) -> None:
        self._output_log = output_log
        self._received_status = b""
        self._output, output = os.pipe()
        self._status, status = os.pipe()
        # The keeper waits for these signals. They are blocked before the fork, or an early one would kill it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (keeper.STOP, keeper.KILL, keeper.ENDED))
        try:
            shim, self.keeper = os.getpid(), os.fork()
            if self.keeper == 0:
                keeper.run(lambda: keeper.exec_program(argv, env, directory, output, status), shim, output, status)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(output)
            os.close(status)
        self._poll = select.poll()
        self._poll.register(self._output, select.POLLIN)
        self._poll.register(self._status, select.POLLIN)

    @property
    def program_runs(self) -> bool:
        """Whether the program's end has not been received yet."""
        return not self._received_status

    def pump(self) -> bool:
        """Log the output that arrives within POLL_SECONDS. False once the keeper has ended."""
        for descriptor, _ in self._poll.poll(POLL_SECONDS * 1000):
            data = os.read(descriptor, _CHUNK)
            if descriptor == self._status:
                self._received_status += data
                if not data:
                    return False
            elif data:
                self._output_log.write(data)
            else:
                self._poll.unregister(self._output)
        return True

    def finish(self) -> tuple[int | None, str]:
        """Reap the keeper, kill the processes it left, and log the rest. Gives exit code and error, as `_parse`."""
        os.waitpid(self.keeper, 0)
        keeper.end_descendants()
        os.set_blocking(self._output, False)
        with suppress(BlockingIOError):
            while data := os.read(self._output, _CHUNK):
                self._output_log.write(data)
        os.close(self._output)
        os.close(self._status)
        return _parse(self._received_status)


def _parse(status: bytes) -> tuple[int | None, str]:
    """Exit code and error, from the lines `error {text}` and `exit {wait status}`; either line may be missing."""
    fields = dict(line.split(" ", 1) for line in status.decode(errors="replace").splitlines())
    if "error" in fields or "exit" not in fields:
        return None, fields.get("error", "")
    code = os.waitstatus_to_exitcode(int(fields["exit"]))
    return (code if code >= 0 else 128 - code), ""
