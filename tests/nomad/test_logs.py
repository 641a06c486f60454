"""Following a log of a real Nomad that becomes too long, so that Nomad removes its oldest file."""

from __future__ import annotations

from collections.abc import Callable

from runner.drivers.nomad.driver import NomadDriver
from tests.conformance.jobs import job
from tests.harness.deadlines import within

LINES = 30_000
SCRIPT = f"""awk 'BEGIN {{ text = "0"; while (length(text) < 1000) text = text text
  for (i = 0; i < {LINES}; i++) {{
    printf "%07d %s %07d\\n", i, text, i; if (i % 2000 == 0) {{ fflush(); system("sleep 0.7") }} }} }}'"""
"""31 MB in ten seconds: two files of 10 MB are kept (LogConfig in the specification)."""


def test_no_line_is_lost_or_repeated_where_nomad_removes_the_oldest_file(
    make_driver: Callable[..., NomadDriver],
) -> None:
    driver, made = make_driver(), job("shell", SCRIPT)
    driver.submit(made, within(10))
    (seen,) = [each for each in driver.list() if each.name == made.name]
    numbers: list[int] = []

    driver.follow_logs(seen, lambda _, text: numbers.extend(int(line.split()[0]) for line in text.splitlines()))

    assert numbers == list(range(LINES))
