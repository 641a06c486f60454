"""What the HTTP worker uses of gunicorn although it is not documented: present, and named in one place."""

from __future__ import annotations

import ast
import re
from importlib.metadata import version
from pathlib import Path

import pytest
from gunicorn.config import Config
from gunicorn.http.body import Body, ChunkedReader
from gunicorn.http.parser import RequestParser
from gunicorn.workers.base import Worker
from gunicorn.workers.base_async import AsyncWorker
from gunicorn.workers.ggevent import GeventWorker

from functions.http import worker as http_worker
from tests.harness.processes import ROOT

NAMES = {
    GeventWorker: ("patch", "init_process", "handle_quit"),
    AsyncWorker: ("handle", "handle_request", "timeout_ctx"),
    Worker: ("handle_error", "load_wsgi", "notify"),
    Config: ("settings",),
    ChunkedReader: ("parse_chunked", "parse_chunk_size", "read_into"),
    Body: ("read",),
}
REQUEST = ("headers", "version", "path", "force_close", "body", "unreader")


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in NAMES.items() for name in names])
def test_gunicorn_has_each_name_that_the_worker_replaces(owner: type, name: str) -> None:
    made = owner() if owner is Config else owner
    assert hasattr(made, name), (
        f"gunicorn {version('gunicorn')} has no {owner.__name__}.{name}, which functions/http needs: see how the new "
        "release does this step, or exclude it in requirements.in"
    )


@pytest.mark.parametrize("name", REQUEST)
def test_a_request_has_each_name_that_the_worker_reads(name: str) -> None:
    sent = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
    request = next(RequestParser(Config(), iter([sent]), ("127.0.0.1", 1)))
    assert hasattr(request, name), f"a request of gunicorn {version('gunicorn')} has no {name}, which the worker reads"
    assert request.unreader.buf.getvalue() == b"{}", "gunicorn keeps what has arrived somewhere else than unreader.buf"
    assert request.body.read(10) == b"{}"


def test_each_name_stands_at_the_top_of_the_worker() -> None:
    listed = re.findall(r"`(?:\w+\.)?([\w.]+)`", http_worker.__doc__ or "")
    missing = {"patch", "handle", "handle_request", "timeout_ctx", "handle_error", "notify", "settings"} - set(listed)
    assert not missing, f"functions/http/worker.py uses {missing} of gunicorn, and does not say why at its top"


def test_no_private_name_of_gunicorn_is_used() -> None:
    """By convention: a leading underscore, on anything but `self`."""
    for path in (ROOT / "functions" / "http").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr):
                assert isinstance(node.value, ast.Name), f"{path.name}:{node.lineno} uses {node.attr}"
                assert node.value.id == "self", f"{path.name}:{node.lineno} uses {node.attr}"


def test_the_worker_is_one_small_file() -> None:
    assert len(Path(http_worker.__file__).read_text().splitlines()) <= 150


def test_the_installed_gunicorn_is_in_the_range_that_is_tested() -> None:
    release = tuple(int(part) for part in version("gunicorn").split("."))
    assert (27, 0, 0) <= release < (28,), "the range in requirements.in: tox -e gunicorn-27.0.0 tests its lower end"
