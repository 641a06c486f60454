"""What a job does here: it prints all that it was given, as a careless analyzer does, and ends as its word says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests import cluster
from tests.acceptance.registry import registry

PROGRAM = """\
#!/bin/sh
# Stands for coat, marvin and git. Prints its arguments and its environment to both streams.
echo "arguments: $*"
env
{ echo "fatal: unable to access '$REMOTE_URL'"; printf 'Authorization: Bearer %s\\n' "$RESULT_HTTP_TOKEN"; } >&2
printf '%s\\n' "$SSH_PRIVATE_KEY" | tail -n 4 >&2
case "$*" in
  *"--check-seq"*) # coat before marvin
    if [ -f /app/marvin ]; then cp /app/marvin /marvin/marvin; fi
    case "$* $REMOTE_URL" in *word-timeout*) exec sleep 300 ;; esac
    exit 0 ;;
esac
case "$* $REMOTE_URL" in
  *word-success*) exit 0 ;;
  *word-failure*) exit 3 ;;
  *) exec sleep 300 ;;
esac
"""

NAMES = ("coat:latest", "marvin-python:2.1", "bumblebee:2.1")


def on_this_host(directory: Path) -> dict[str, dict[str, list[str]]]:
    """The program as a file, for drivers without images: the section `images`."""
    program = directory / "program"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    return {name: {"command": [str(program)]} for name in ("coat", "marvin-*", "bumblebee")}


@contextmanager
def in_images() -> Iterator[str]:
    """The program in images that nodes have. Yields the registry's host, port and path."""
    program = cluster.File(PROGRAM.encode(), mode=0o755)
    files = {"/app/coat": program, "/app/marvin": program, "/usr/local/bin/git": program}
    toolbox = {"/toolbox": cluster.Directory(mode=0o755, owner=(1000, 3000))}
    built = {
        f"canary/{name}": cluster.image(name.partition(":")[0], files=files, directories=toolbox) for name in NAMES
    }
    with registry(built) as host:
        for name, image in built.items():
            cluster.load_into_kubernetes(replace(image, reference=f"{host}/{name}"))
        yield f"{host}/canary"
