"""How a task ended, or why it could not start, from its state and events in an allocation. Pure.

Events and their details: nomad/structs/structs.go (TaskEvent). Reasons are taken from an event's type and from the
beginning of the docker driver's own messages (drivers/docker/coordinator.go, driver.go). Words that a message quotes,
like the path of a program or the name of an image, are no reasons.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from runner.drivers.nomad.objects import Allocation, TaskEvent, TaskState
from runner.drivers.nomad.specification import INIT, MAIN

_RPC = r"(?:rpc error: code = \w+ desc = )*"
_DAEMON = r"(?:Error response from daemon: )?"
_OF_IMAGE = re.compile(
    rf"(?:failed to start task after driver exited unexpectedly: )?{_RPC}"
    r"(?:Failed to pull `|Failed to find docker auth for repo |unable to create local docker image \""
    rf"|{_DAEMON}pull access denied for |{_DAEMON}manifest (?:for \S+ not found|unknown)"
    r"|(?:failed to start task, )?(?:unable to|could not) pull image|failed to create image: |Error in pulling image "
    rf"|{_DAEMON}invalid reference format|(?:[Ff]ailed to create container: )?{_DAEMON}[Nn]o such image(?::|$))"
)
# The node's own failures: not the fault of the job, and no proof that the node was lost.
_OF_NODE = re.compile(
    r"Cannot connect to the Docker daemon|code = Unavailable|plugin (?:is|has) (?:shut|shutting) ?down"
    r"|connection is shut|^logmon: |^failed to fetch docker daemon info: |error during connect"
    rf"|^{_RPC}failed to launch docker logger |^failed to initialize driver after "
)
_QUOTED = re.compile(r"\"[^\"]*\"|`[^`]*`")
_REGISTRY = re.compile(
    r"toomanyrequests|rate limit|429 Too Many Requests|50[0234] (?:Internal|Bad|Service|Gateway)"
    r"|unexpected HTTP status: 5"
    r"|timeout|timed out|deadline exceeded|connection (?:refused|reset)|temporary failure|unexpected EOF|: EOF"
    r"|server misbehaving|no route to host|unreachable|no space left on device",
    re.IGNORECASE,
)

_KILLS = frozenset({"Killing", "Restart Signaled"})
_CONSEQUENCES = frozenset({"Not Restarting", "Sibling Task Failed", "Leader Task Dead"})
_START_FAILURES = frozenset(
    {"Driver Failure", "Setup Failure", "Failed Validation", "Failed Artifact Download", "Task hook failed"}
)
_DISK = "Disk Resources Exceeded"
_RESTORE = "Failed Restoring Task"
_OF_ANOTHER = frozenset({"Sibling Task Failed", "Leader Task Dead"})
"""The task is killed because another one has failed or ended."""
_TEMPLATE, _MISSING = "Template", "Missing: "
"""The event of a task that waits for something that its templates name, like a Variable, and how its message begins."""
_NO_MEMORY = re.compile(
    r"OOM-killed|memory limit \S+ too low|unable to set memory limit|[Mm]inimum memory limit allowed"
)
"""In the message of runc or Docker if the limit is too small even to start a program."""


class TaskEnd(msgspec.Struct, frozen=True):
    """How a task ended, or why it could not start."""

    over: bool = False
    """It has ended by itself, or cannot start, and Nomad does not start it again. False if something stopped it."""
    exit: int | None = None
    signal: int = 0
    out_of_memory: bool = False
    lost: bool = False
    """Its node restarted, or lost the process that watches it."""
    image_error: str = ""
    registry_error: bool = False
    configuration_error: str = ""
    disk_exhausted: str = ""

    @property
    def failed(self) -> bool:
        """Whether it explains the failure of a run."""
        refused = self.image_error or self.configuration_error or self.disk_exhausted
        return bool(refused or self.out_of_memory or self.exit or (self.over and self.exit is None))


class Run(msgspec.Struct, frozen=True):
    """The job's own tasks in one allocation, found by name. Tasks that somebody added are not the job's."""

    allocation: Allocation | None = None
    init_name: str = ""
    main_name: str = ""
    init: TaskEnd = TaskEnd()
    main: TaskEnd = TaskEnd()

    @property
    def tasks(self) -> dict[str, TaskState]:
        """All tasks of the allocation by name, with those that are not the job's."""
        return (self.allocation.task_states if self.allocation else None) or {}

    @property
    def running_other(self) -> str:
        """The name of a task that runs and is not the job's own; empty if there is none."""
        own = (self.init_name, self.main_name)
        return next((name for name, state in self.tasks.items() if state.state == "running" and name not in own), "")

    @property
    def over(self) -> bool:
        """Whether it has ended by itself. Nothing that happens later changes how it ended."""
        return self.main.over or (self.init.over and self.init.exit != 0)

    @property
    def ends(self) -> tuple[TaskEnd, TaskEnd]:
        """In the order in which the tasks run."""
        return (self.init, self.main)

    @property
    def unhindered(self) -> int:
        """How many tasks nothing keeps from starting, as far as the allocation shows it."""
        return sum(not each.failed for each in self.ends) if self.allocation else 0

    @property
    def explains(self) -> tuple[str, TaskEnd]:
        """The task that explains the failure, with its name; empty if none does.

        The main task starts only after the init task's success, so it explains the failure if it has ended, or could
        not start.
        """
        tasks = ((self.init_name, self.init), (self.main_name, self.main))
        for name, end in tasks[::-1] if self.main.over or self.main.exit is not None else tasks:
            if end.failed:
                return name, end
        return "", TaskEnd()


def run_in(allocation: Allocation, meta: Mapping[str, str]) -> Run:
    """The run in one allocation of a job with this Meta."""
    states = allocation.task_states or {}
    init, main = _init_task(meta, states), meta.get(MAIN, "")
    return Run(allocation, init, main, task_end(states.get(init)), task_end(states.get(main)))


def own_tasks(meta: Mapping[str, str], states: Mapping[str, TaskState]) -> list[str]:
    """The names of the job's own tasks, in the order in which they run."""
    return [name for name in (_init_task(meta, states), meta.get(MAIN, "")) if name]


def _init_task(meta: Mapping[str, str], states: Mapping[str, TaskState]) -> str:
    """The name of the init task. Release 0.1 did not write it."""
    return meta[INIT] if INIT in meta else next((name for name in states if name != meta.get(MAIN, "")), "")


def task_end(state: TaskState | None) -> TaskEnd:
    """How the task ended; an empty TaskEnd if it has not."""
    if state is None:
        return TaskEnd()
    failure = _failure(state)
    ended = next((event for event in reversed(state.since_start) if event.type == "Terminated"), None)
    if ended is not None and _is_restarted(state, ended):
        return TaskEnd()
    if ended is None:
        if missing := _missing(state):
            return TaskEnd(configuration_error=missing)
        could_not_start = state.state == "dead" and state.failed and failure is not None
        restarted = any(event.type == _RESTORE for event in state.since_start)
        return _with_failure(TaskEnd(over=could_not_start, lost=restarted), failure)
    details = ended.details or {}
    before = {event.type for event in state.since_start[: state.since_start.index(ended)]}
    lost, exit_code = _watcher_lost(details), _exit_code(details)
    code = None if lost or (exit_code and before & _OF_ANOTHER) else exit_code
    end = TaskEnd(
        over=code == 0 or not (lost or before & (_KILLS | _OF_ANOTHER)),
        exit=code,
        signal=_number(details, "signal") or _signal_of(code),
        out_of_memory=_oom(details),
        lost=lost,
    )
    return _with_failure(end, failure)


def _is_restarted(state: TaskState, ended: TaskEvent) -> bool:
    """Whether Nomad is about to start it again after that end, which a policy that somebody changed may allow."""
    later = state.since_start[state.since_start.index(ended) :]
    return state.state != "dead" and any(event.type == "Restarting" for event in later)


def _watcher_lost(details: dict[str, str]) -> bool:
    """Whether the driver lost the program: it then says 0 for the exit code, and why it knows no better.

    Docker's driver has a message for every container in which something was killed for memory, be it not the program.
    """
    return details.get("exit_code") == "0" and bool(details.get("exit_message")) and not _oom(details)


def _oom(details: dict[str, str]) -> bool:
    return details.get("oom_killed") == "true"


def _exit_code(details: dict[str, str]) -> int:
    """The exit code. Some drivers say 0 for a program that a signal has killed."""
    code, by_signal = _number(details, "exit_code"), _number(details, "signal")
    return code or (128 + by_signal if by_signal else 0)


def _missing(state: TaskState) -> str:
    """What a task that has not started waits for; empty if it waits for nothing."""
    last = state.events[-1] if state.events and state.state == "pending" else TaskEvent()
    return last.display_message if last.type == _TEMPLATE and last.display_message.startswith(_MISSING) else ""


def _failure(state: TaskState) -> TaskEvent | None:
    """The event that kept the task from starting, or made Nomad kill it. What came before its start is history.

    A hook that fails after the start, like that of a service's checks, neither stops nor fails the task.
    """
    has_started = state.last("Started") is not None
    for event in state.since_start:
        if event.type == _DISK or (event.type in _START_FAILURES and not has_started):
            return event
        if event.fatal and event.type not in _CONSEQUENCES:
            return event
    return None


def _with_failure(end: TaskEnd, event: TaskEvent | None) -> TaskEnd:
    if event is None:
        return end
    text = event.display_message or event.type
    if event.type == _DISK:
        return msgspec.structs.replace(end, disk_exhausted=text)
    if event.type == "Driver Failure" and _OF_IMAGE.match(text):
        return msgspec.structs.replace(end, image_error=text, registry_error=_of_registry(text))
    if _NO_MEMORY.search(text):
        return msgspec.structs.replace(end, out_of_memory=True)
    if _OF_NODE.search(_QUOTED.sub("", text)):
        return end
    return msgspec.structs.replace(end, configuration_error=text)


def _of_registry(text: str) -> bool:
    """Whether the registry may recover. What the message quotes (URLs, names) is left out."""
    return bool(_REGISTRY.search(_QUOTED.sub("", text)))


def _number(details: dict[str, str], name: str) -> int:
    text = details.get(name, "")
    return int(text) if text.lstrip("-").isdigit() else 0


def _signal_of(code: int | None) -> int:
    """The signal that an exit code stands for, as for shells: 128 + signal."""
    return code - 128 if code is not None and 128 < code < 160 else 0
