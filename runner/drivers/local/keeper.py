"""The keeper: the process between the shim and a program. It kills every process that the program leaves.

    shim ──fork──▶ keeper ──fork, exec──▶ program ──▶ its children

The keeper does what `tini` does in an image, and more. It becomes the parent of the program's orphans
(PR_SET_CHILD_SUBREAPER, see prctl(2)) and kills them once the program has ended. The signals STOP and KILL make it end
the program before that. The kernel sends it KILL when the shim dies, and kills the program when the keeper dies
(PR_SET_PDEATHSIG). The shim becomes the parent of a killed keeper's orphans and kills them. Until then the keeper holds
all locks of the shim, so a free lock means that no process of the job is left. Only kill -9 of shim and keeper at once
can leave children of the program. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import NoReturn

STOP, KILL, ENDED = signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD
"""The signals that a keeper waits for: stop the program, kill the program, a child has ended."""

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def become_subreaper() -> None:
    """Become the parent of every descendant whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def run(become_program: Callable[[], NoReturn], shim: int, output: int, status: int) -> NoReturn:
    """Run the keeper in this process, a child of `shim`, and exit. `output` and `status` are its ends of the pipes."""
    try:
        os.setsid()
        become_subreaper()
        _signal_on_parent_death(shim, KILL)
        keeper, program = os.getpid(), os.fork()
        if program == 0:
            _signal_on_parent_death(keeper, signal.SIGKILL)
            become_program()
        os.close(output)
        os.write(status, b"exit %d\n" % _wait(program))
        end_descendants()
    except OSError as error:
        os.write(status, f"error {error}\n".encode())
    finally:
        os._exit(0)


def _wait(program: int) -> int:
    """Wait until the program ends, or KILL arrives. Gives the program's wait status."""
    while True:
        received = signal.sigwait((STOP, KILL, ENDED))
        if received == KILL:
            return signal.SIGKILL
        while (reaped := os.waitpid(-1, os.WNOHANG))[0]:
            if reaped[0] == program:
                return reaped[1]
        if received == STOP:
            _stop(program)


def _stop(program: int) -> None:
    """Send SIGTERM to the program's process group. Creates the group first, in case the child has not done so yet."""
    with suppress(PermissionError):  # the child has called exec, so it has created the group
        os.setpgid(program, program)
    os.killpg(program, signal.SIGTERM)


def exec_program(argv: Sequence[str], env: Mapping[str, str], directory: str, output: int, status: int) -> NoReturn:
    """Replace this process by the program. Signals that Python ignores or blocks are reset to their defaults."""
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


def end_descendants() -> None:
    """Kill and reap every child, and the orphans that become children on the way, until there is none."""
    with suppress(ChildProcessError):
        while True:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                for child in _children():
                    _kill(child)
                os.waitpid(-1, 0)


def _kill(process: int) -> None:
    with suppress(PermissionError):  # it has changed its user, and has to be waited for
        os.kill(process, signal.SIGKILL)


def _children() -> list[int]:
    """The children of this process, zombies included."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{process}/stat", "rb") as file:  # the process may have ended
            if int(file.read().rpartition(b")")[2].split()[1]) == os.getpid():
                found.append(int(process))
    return found


def _signal_on_parent_death(parent: int, number: int) -> None:
    """Make the kernel send this process that signal when the parent dies; at once if it has died."""
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
