"""The keeper: the process between the shim and a program, which leaves nothing of the program behind.

    shim ──fork──▶ keeper ──fork, exec──▶ program ──▶ whatever it starts

The keeper is what `tini` is in an image, and a little more. It adopts what the program leaves behind
(PR_SET_CHILD_SUBREAPER, see prctl(2)) and kills all of it once the program has ended. STOP and KILL tell it to end the
program before that; the kernel sends it KILL when the shim dies (PR_SET_PDEATHSIG). The program dies with the keeper in
the same way, and the shim adopts and kills what a killed keeper leaves behind. Until then the keeper holds all locks of
the shim, so a free lock means that nothing of the job runs any more. Only kill -9 of both at once can leave children of
the program behind. Standard library only.
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
"""What a keeper waits for: the order to stop the program, the order to kill it, and the end of a child."""

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def adopt() -> None:
    """Become the parent of whatever loses its own below this process."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def keep(become_program: Callable[[], NoReturn], shim: int, output: int, status: int) -> NoReturn:
    """The keeper's life."""
    try:
        os.setsid()
        adopt()
        _die_with(shim, KILL)
        keeper, program = os.getpid(), os.fork()
        if program == 0:
            _die_with(keeper, signal.SIGKILL)
            become_program()
        os.close(output)
        os.write(status, b"exit %d\n" % _wait(program))
        end_descendants()
    except OSError as error:
        os.write(status, f"error {error}\n".encode())
    finally:
        os._exit(0)


def _wait(program: int) -> int:
    """Wait for the program to end, or for the order to end it. Gives its wait status."""
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
    """SIGTERM to the program's group, which may not have been made yet."""
    with suppress(PermissionError):  # it has, and the program is started
        os.setpgid(program, program)
    os.killpg(program, signal.SIGTERM)


def become(argv: Sequence[str], env: Mapping[str, str], directory: str, output: int, status: int) -> NoReturn:
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


def end_descendants() -> None:
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
