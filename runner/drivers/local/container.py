"""One container of the local driver: a program on this host, with its log, and with nothing left of it at its end.

    shim ──fork──▶ keeper ──fork, exec──▶ program ──▶ whatever it starts

The keeper is what `tini` is in an image, and a little more. It adopts what the program leaves behind
(PR_SET_CHILD_SUBREAPER, see prctl(2)) and kills all of it once the program has ended. It is told to do so by a signal
as well, which the kernel sends it when the shim dies (PR_SET_PDEATHSIG); the program dies with the keeper in the same
way, and what a killed keeper leaves behind is adopted and killed by the shim. Until then the keeper holds whatever the
shim has locked, so a free lock means that nothing of the job runs any more. Only kill -9 of both at once can leave
children of the program behind.

Not enforced: the limits on CPU and memory. RLIMIT_AS and RLIMIT_DATA break runtimes that reserve address space (Go,
Java, Node) and count for each process alone; a cgroup would need a host that delegates one to us. An end by the
kernel's out-of-memory killer is told as such only where the count of such kills in our cgroup rose meanwhile.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import signal
import time
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import NoReturn

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

LOOK = 0.2
"""Seconds between two looks for a cancellation."""

LOG_LIMIT, LOG_HEAD, LOG_TAIL = 16 << 20, 4 << 20, 4 << 20
"""Bytes. A log that grows over the limit is cut down to its head and its tail, which say most, and grows on."""

SHORTEST, SHORTEST_PART = 4, 8
"""Characters of a secret, and of a line or password within one, that is masked in logs. Masking shorter ones would
hide half of a log and tell what they are by doing so."""

_MASK = b"***"
_CHUNK = 1 << 16
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_STOP, _KILL, _ENDED = signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD
_LADDER = (_STOP, _KILL, signal.SIGKILL)
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


class Log:
    """A file that takes a program's output, keeps it bounded and lets no secret through."""

    def __init__(self, path: str, secrets: Iterable[str]) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = 0
        self._taken = 0
        self._needles = needles(secrets)
        self._pattern = re.compile(b"|".join(map(re.escape, self._needles)) or rb"(?!)")
        self._rest = b""

    def write(self, data: bytes) -> None:
        """Take output. What may be the beginning of a secret is held back until it is known to be none."""
        data = self._rest + data
        undecided = self._undecided(data)
        parts, start = [], 0
        for match in self._pattern.finditer(data):
            if match.start() >= undecided:
                break
            parts += [data[start : match.start()], _MASK]
            start = match.end()
        self._rest = data[max(start, undecided) :]
        self._put(b"".join([*parts, data[start:undecided]]))

    def close(self) -> None:
        """Write what was held back."""
        self._put(self._pattern.sub(_MASK, self._rest))
        os.close(self._file)

    def _undecided(self, data: bytes) -> int:
        """Where a secret may begin that `data` has only the first part of."""
        first = len(data)
        for needle in self._needles:
            at = data.find(needle[:1], max(0, len(data) - len(needle) + 1), first)
            while at >= 0 and not needle.startswith(data[at:]):
                at = data.find(needle[:1], at + 1, first)
            first = at if at >= 0 else first
        return first

    def _put(self, data: bytes) -> None:
        with suppress(OSError):  # where the disk is full, the job goes on without its log
            written = os.write(self._file, data)
            self._size += written
            self._taken += written
            if self._size > LOG_LIMIT:
                self._shorten()

    def _shorten(self) -> None:
        tail = os.pread(self._file, LOG_TAIL, self._size - LOG_TAIL)
        note = b"\n[%d bytes were left out here]\n" % (self._taken - LOG_HEAD - len(tail))
        os.ftruncate(self._file, LOG_HEAD)
        self._size = LOG_HEAD + os.write(self._file, note + tail)


def needles(secrets: Iterable[str]) -> list[bytes]:
    """What must not be in a log: the secrets, their lines, and the logins and passwords of URLs; the longest first."""
    found = set()
    for secret in secrets:
        login = re.match(r"[a-z+]+://((?:[^/@\s]*:)?([^/@\s]+))@", secret)
        parts = [*secret.split("\n"), *(login.groups() if login else ())]
        found |= {part.strip() for part in parts if len(part.strip()) >= SHORTEST_PART}
        found |= {secret.strip()} if len(secret.strip()) >= SHORTEST else set()
    return sorted((text.encode() for text in found), key=len, reverse=True)


def run(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    directory: str,
    log: Log,
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


def adopt() -> None:
    """Become the parent of whatever loses its own below this process."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _attend(container: _Container, deadline: float, cancelled: Callable[[], bool]) -> str:
    """Pass on the output until the container has ended, and end it when it is time. Gives the reason for that."""
    stopped, ladder, due = "", iter(_LADDER), 0.0
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

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], directory: str, log: Log) -> None:
        self._log = log
        self._report = b""
        self._output, output = os.pipe()
        self._status, status = os.pipe()
        # The keeper waits for these signals, and must not die of one that comes before it does.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (_STOP, _KILL, _ENDED))
        try:
            shim, self.keeper = os.getpid(), os.fork()
            if self.keeper == 0:
                _keep(lambda: _become(argv, env, directory, output, status), shim, output, status)
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
        for descriptor, _ in self._poll.poll(LOOK * 1000):
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
        _end_descendants()
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


def _keep(become_program: Callable[[], NoReturn], shim: int, output: int, status: int) -> NoReturn:
    """The keeper's life."""
    try:
        os.setsid()
        adopt()
        _die_with(shim, _KILL)
        keeper, program = os.getpid(), os.fork()
        if program == 0:
            _die_with(keeper, signal.SIGKILL)
            become_program()
        os.close(output)
        os.write(status, b"exit %d\n" % _wait(program))
        _end_descendants()
    except OSError as error:
        os.write(status, f"error {error}\n".encode())
    finally:
        os._exit(0)


def _wait(program: int) -> int:
    """Wait for the program to end, or for the order to end it. Gives its wait status."""
    while True:
        received = signal.sigwait((_STOP, _KILL, _ENDED))
        if received == _KILL:
            return signal.SIGKILL
        while (reaped := os.waitpid(-1, os.WNOHANG))[0]:
            if reaped[0] == program:
                return reaped[1]
        if received == _STOP:
            _stop(program)


def _stop(program: int) -> None:
    """SIGTERM to the program's group, which may not have been made yet."""
    with suppress(PermissionError):  # it has, and the program is started
        os.setpgid(program, program)
    os.killpg(program, signal.SIGTERM)


def _become(argv: Sequence[str], env: Mapping[str, str], directory: str, output: int, status: int) -> NoReturn:
    """Turn this process into the program. What Python ignores is the program's to decide upon again."""
    try:
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.umask(0o022)
        os.chdir(directory)
        for number in signal.valid_signals():
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execvpe(argv[0], list(argv), env)  # noqa: S606  (no shell on purpose)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        os.write(status, f"error {argv[0]!r} cannot be run on this host: {reason}\n".encode())
    finally:
        os._exit(127)


def _end_descendants() -> None:
    """Kill and reap every child, and theirs as they are handed to us, until there is none."""
    with suppress(ChildProcessError):
        while True:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                for child in _children():
                    _kill(child)
                os.waitpid(-1, 0)


def _kill(process: int) -> None:
    with suppress(PermissionError):  # it has become another user's, and has to be waited for
        os.kill(process, signal.SIGKILL)


def _children() -> list[int]:
    """The processes whose parent is this one; those that have ended and are not reaped are still among them."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{process}/stat", "rb") as file:  # it may end meanwhile
            if int(file.read().rpartition(b")")[2].split()[1]) == os.getpid():
                found.append(int(process))
    return found


def _die_with(parent: int, number: int) -> None:
    """Have the kernel send us that signal when the parent dies; at once where it has."""
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
