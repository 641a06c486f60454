"""The mode `--transform`: runs the formatters over all files."""

from __future__ import annotations

from typing import Any

from .errors import NOTE
from .patches import Snapshot
from .rules import FORMATTERS
from .task import Task, is_disabled

Document = dict[str, Any]


def transform(task: Task) -> Document:
    """Format all files. The changes stay in the code directory, uncommitted. Gives the report."""
    broken = {issue["location"]["path"] for issue in task.issues(task.paths, ())}
    for path in sorted(broken):
        task.add_error(f"{path} is not valid Python, so it was left alone.")
    paths = [path for path in task.paths if path not in broken]
    snapshot = Snapshot.take(task.code, paths)
    for command in _commands(task):
        task.change(paths, *command)
    patches = snapshot.patches()
    return {"changed_files": [patch["path"] for patch in patches], "patches": patches}


def _commands(task: Task) -> list[tuple[str, ...]]:
    """The commands of the requested tools, each once: several tools may have the same command."""
    commands: list[tuple[str, ...]] = []
    for tool in task.toml.get("transformerTools") or ():
        if is_disabled(task.settings.get("transformers"), tool):
            task.add_error(f"{tool} is switched off in the repository's settings.", NOTE)
        elif tool not in FORMATTERS:
            task.add_error(f"{tool} is not known here, so it was not run.")
        elif FORMATTERS[tool] not in commands:
            commands.append(FORMATTERS[tool])
    return commands
