"""The page: runs, issues, patches and requests from jobs as HTML. Pure: the caller passes the time.

The markup is in `templates/`, style sheet and script are in `static/`. Jinja2 escapes every value that a template
shows. A page contains its style sheet and script, so that a saved page is one file.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from examples.atlas import reports
from examples.atlas.runs import Delivery, Run

_HERE = Path(__file__).resolve().parent


def render(runs: Sequence[Run], deliveries: Sequence[Delivery], *, now: float, live: bool) -> str:
    """The whole page. A live page reloads its content every two seconds. `now` is in seconds since the epoch."""
    return (
        _environment()
        .get_template("page.html")
        .render(runs=runs, deliveries=deliveries, now=now, live=live, style=_static("style.css"), script=_script())
    )


def content_security_policy() -> str:
    """Forbids everything from other hosts and every script but ours, even if escaping were to fail."""
    script, style = _digest(_script()), _digest(_static("style.css"))
    return (
        f"default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"report": reports.report, "utc": utc, "iso": iso, "duration": duration}
    return environment


@cache
def _static(name: str) -> Markup:
    """A file of `static/`, not escaped. Only style sheet and script may be shown like this."""
    return Markup((_HERE / "static" / name).read_text("utf-8"))


def _script() -> Markup:
    return _static("refresh.js")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def utc(seconds: float) -> str:
    """Date and time of seconds since the epoch, for people."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(seconds: float) -> str:
    """The same for programs (ISO 8601)."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def duration(seconds: float) -> str:
    """A length of time: tenths below a minute, then minutes, then hours."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
