"""Clock, randomness and connections are arguments: only the roots of processes create them.

Waiting on the event loop (asyncio.sleep, asyncio.timeout, gevent's timers) is allowed everywhere: a simulation runs its
own loop.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

CLOCK = {f"time.{name}" for name in ("sleep", "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter")} | {
    f"datetime.{kind}.{name}" for kind in ("datetime", "date") for name in ("now", "utcnow", "today")
}
CONNECTIONS = {
    "http.client.HTTPConnection", "http.client.HTTPSConnection", "pycurl.Curl", "pycurl.CurlMulti", "requests.Session",
    "socket.create_connection", "urllib.request.build_opener", "urllib.request.urlopen", "urllib3.PoolManager",
    "runner.drivers.http.curl.CurlHttpClient",
}  # fmt: skip
PROJECT_CLOCKS = {"runner.runtime.clock.SystemClock"}
RANDOM = "random."

# By module: the names that it may use, and why. A new line needs a reason as good.
ALLOWED: dict[str, dict[str, str]] = {
    "functions/amqp/server.py": {
        "random.SystemRandom": "the root of its process",
        "runner.runtime.clock.SystemClock": "the root of its process",
    },
    "functions/grpc/server.py": {"runner.runtime.clock.SystemClock": "the root of its process"},
    "functions/http/application.py": {"runner.runtime.clock.SystemClock": "the root of its process"},
    "functions/http/worker.py": {"runner.runtime.clock.SystemClock": "gunicorn makes it, and passes it no clock"},
    "runner/cli/exporting.py": {"runner.runtime.clock.SystemClock": "the root of its process"},
    "runner/cli/jobs.py": {"runner.runtime.clock.SystemClock": "the root of its process"},
    "runner/cli/known.py": {"runner.runtime.clock.SystemClock": "the root of its process"},
    "runner/cli/processes.py": {"runner.runtime.clock.SystemClock": "the root of its process"},
    "runner/cli/requests.py": {
        "runner.runtime.clock.SystemClock": "the root of its process",
        "urllib.request.build_opener": "`submit` is a client of the servers, and calls no cluster",
    },
    "runner/cli/token.py": {"runner.runtime.clock.SystemClock": "the root of its process"},
    "runner/composition.py": {
        "random.SystemRandom": "the composition root",
        "runner.drivers.http.curl.CurlHttpClient": "the composition root",
        "runner.runtime.clock.SystemClock": "the composition root",
    },
    "runner/drivers/http/curl.py": {"pycurl.Curl": "the HTTP client itself"},
    "runner/drivers/http/transfers.py": {"pycurl.CurlMulti": "the HTTP client itself"},
    "runner/drivers/local/container.py": {"time.monotonic": "the shim: a process of its own, standard library only"},
    "runner/drivers/local/files.py": {
        "time.monotonic": "the shim's side: standard library only",
        "time.time": "the shim's side: standard library only; and compared with the file system's clock",
    },
    "runner/drivers/local/shim.py": {
        "time.sleep": "a process of its own, standard library only",
        "time.time": "a process of its own, standard library only",
        "time.strftime": "the time of a line in its log",
    },
    "runner/runtime/clock.py": {
        "time.monotonic": "the clock itself",
        "time.time": "the clock itself",
    },
    "runner/runtime/concurrency.py": {"time.sleep": "the implementation of SystemClock.sleep"},
    "runner/runtime/logs.py": {"time.time": "the time of a line in the log"},
}


def used(source: str) -> Iterator[tuple[int, str]]:
    """The line and full name of each use of a clock, randomness or connection, also under another imported name."""
    tree = ast.parse(source)
    names = dict(_imported(tree))
    for node in ast.walk(tree):
        name = _full_name(node, names)
        if name and (name in CLOCK | CONNECTIONS | PROJECT_CLOCKS or _is_random(name)):
            yield node.lineno, name  # type: ignore[attr-defined]
        if isinstance(node, ast.Call) and _reads_the_clock(node, _full_name(node.func, names)):
            yield node.lineno, _full_name(node.func, names)


def _is_random(name: str) -> bool:
    """Whether it is a name of `random`, other than the type of the argument."""
    return name.startswith(RANDOM) and name != "random.Random"


def _reads_the_clock(call: ast.Call, name: str) -> bool:
    """Whether a call takes the present time because no time is given, or creates a source of randomness."""
    given = len(call.args)
    if name in ("time.localtime", "time.gmtime", "time.ctime"):
        return given == 0
    if name == "time.strftime":
        return given == 1
    return name == "random.Random"  # a simulation could not control it


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Local names, with the full names that they are imported from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (first, first)
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _full_name(node: ast.AST, names: dict[str, str]) -> str:
    """The full name of a use, such as `time.monotonic`; empty for a name that is not imported."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "") if isinstance(node.ctx, ast.Load) else ""
    if isinstance(node, ast.Attribute):
        base = _full_name(node.value, names)
        return f"{base}.{node.attr}" if base else ""
    return ""


MODULES = sorted(
    str(path.relative_to(ROOT)) for package in ("functions", "runner") for path in (ROOT / package).rglob("*.py")
)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_takes_clock_randomness_and_connections_from_its_caller(module: str) -> None:
    allowed = ALLOWED.get(module, {})
    found = [(line, name) for line, name in used((ROOT / module).read_text()) if name not in allowed]
    assert not found, "\n".join(
        f"{module}, line {line} uses {name}: take it from the caller (Clock, Random or HttpClient, built in"
        " runner/composition.py or the process's main), or give the reason in ALLOWED"
        for line, name in found
    )


def test_every_exception_is_needed() -> None:
    for module, names in ALLOWED.items():
        found = {name for _, name in used((ROOT / module).read_text())}
        assert set(names) <= found, f"{module} no longer uses {set(names) - found}: take it out of ALLOWED"


@pytest.mark.parametrize(
    "source",
    [
        "import time\nx = time.monotonic()",
        "import time\nclock = time.time",
        "from time import sleep\nsleep(1)",
        "import time as t\nt.sleep(1)",
        "import time\ntime.strftime('%Y')",
        "import time\ntime.localtime()",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import datetime\ndatetime.now()",
        "import random\nrandom.uniform(0, 1)",
        "from random import choice\nchoice([1])",
        "from random import Random\nRandom()",
        "import socket\nsocket.create_connection(('a', 1))",
        "def f():\n    import urllib3\n    return urllib3.PoolManager()",
        "import pycurl\npycurl.Curl()",
        "import urllib.request\nurllib.request.urlopen('x')",
        "from runner.runtime.clock import SystemClock\nSystemClock()",
        "from runner.drivers.http.curl import CurlHttpClient\nCurlHttpClient",
    ],
)
def test_a_forbidden_use_is_found(source: str) -> None:
    assert list(used(source))


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.strftime('%Y', time.localtime(5))",
        "from random import Random\ndef f(random: Random) -> float:\n    return random.random()",
        "def f(clock):\n    return clock.monotonic()",
        "import socket\nsocket.socket(socket.AF_UNIX)",
        "import asyncio\nasyncio.sleep(1)",
    ],
)
def test_an_allowed_use_is_not_found(source: str) -> None:
    assert not list(used(source))


def test_the_modules_of_both_packages_are_checked() -> None:
    assert {Path(module).parts[0] for module in MODULES} == {"functions", "runner"}
    assert len(MODULES) > 80
