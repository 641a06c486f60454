"""The images of real jobs: a small Debian with one program, which ends as the run id says (see PROGRAM)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tests import cluster
from tests.acceptance.registry import registry

PATH, BROKEN = "prove", "prove-broken"
"""Paths in the registry. The images of the second have no program."""

PROGRAM = """\
#!/bin/sh
# Stands for coat and marvin. The run id's first word says how it ends.
case "$*" in
  *"run-id clone-"*) echo "fatal: repository not found" >&2; exit 128 ;;
  *"run-id "*) if [ -f /app/marvin ]; then cp /app/marvin /marvin/marvin; fi; exit 0 ;;
  *exit3-*) echo "the analyzer has failed"; exit 3 ;;
  *killed-*) kill -9 $$; exit 137 ;; # process 1 of a container survives its own signal
  *oom-*) exec tail /dev/zero ;;
  *disk-*) head -c 400000000 /dev/zero > /code/large; sleep 300 ;;
  *quits-*) trap 'kill $!; exit 2' TERM; sleep 600 & wait ;; # as a program in Go that is process 1
  *hold-*) trap 'kill $!; exit 143' TERM; sleep 600 & wait ;;
esac
exit 0
"""
"""Both containers run it: coat gets `--run-id RUN`, marvin a document that holds the run id."""


@contextmanager
def loaded() -> Iterator[str]:
    """Serve the images from a registry, and load them for pods. Yields the registry's host and port."""
    built = _built()
    with registry(built) as host:
        for name, image in built.items():
            cluster.load_into_kubernetes(replace(image, reference=f"{host}/{name}"))
        yield host


def _built() -> dict[str, cluster.Image]:
    program = cluster.File(PROGRAM.encode(), mode=0o755)
    toolbox = {"/toolbox": cluster.Directory(mode=0o755, owner=(1000, 3000))}
    good = {"/app/coat": program, "/app/marvin": program}
    found = {}
    for path, files in ((PATH, good), (BROKEN, {})):
        for name in ("coat:latest", "marvin-python:dev"):
            found[f"{path}/{name}"] = cluster.image(name.partition(":")[0], files=files, directories=toolbox)
    return found
