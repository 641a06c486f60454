"""The page: runs, issues, patches and deliveries as HTML. Pure; whatever is shown has been escaped.

A page is built of elements, and an element escapes every child that is not an element itself. So
there is no place where escaping could be forgotten.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from examples.atlas.runs import Delivery, Result, Run
from examples.atlas.style import REFRESH, STYLE

Document = dict[str, Any]


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(tag: str, *children: object, **attributes: str) -> Markup:
    """`<tag attribute="…">children</tag>`. `class_` stands for class."""
    names = {name: name.rstrip("_").replace("_", "-") for name in attributes}
    written = "".join(f' {names[name]}="{escape(value)}"' for name, value in attributes.items())
    return Markup(f"<{tag}{written}>{_inside(children)}</{tag}>")


def _inside(children: Iterable[object]) -> Markup:
    return Markup("".join(map(_escaped, children)))


def _escaped(child: object) -> Markup:
    return child if isinstance(child, Markup) else Markup(escape(str(child)))


def render(runs: Sequence[Run], deliveries: Sequence[Delivery], *, live: bool) -> str:
    """The whole page. A live one looks for news every other second, until told not to."""
    main = element("main", _summary(runs), *map(_run, reversed(runs)), _deliveries(deliveries))
    title = element("h1", "atlas")
    body = element("body", element("header", title, _PAUSE if live else ""), main, _script(live))
    head = element("head", _META, element("title", "atlas: runs"), _raw("style", STYLE))
    return f'<!doctype html>\n<html lang="en">{head}{body}</html>\n'


def content_security_policy() -> str:
    """Nothing from elsewhere, and no script but ours, even if escaping were to fail."""
    script, style = _digest(REFRESH), _digest(STYLE)
    return (
        f"default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


_META = Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width">')
_PAUSE = Markup('<label><input type="checkbox" id="pause"> pause updates</label>')


def _raw(tag: str, constant: str) -> Markup:
    """For our own style and script, which are not to be escaped."""
    return Markup(f"<{tag}>{constant}</{tag}>")


def _script(live: bool) -> Markup:
    return _raw("script", REFRESH) if live else Markup()


def _summary(runs: Sequence[Run]) -> Markup:
    states = [run.state for run in runs]
    counts = (f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    text = f"{len(runs)} run(s): {', '.join(counts)}" if runs else "No run yet."
    return element("p", text, role="status")


def _run(run: Run) -> Markup:
    badge = element("span", run.state, class_=f"state {run.state}")
    facts = {"run": run.run_id, "job": ", ".join(run.jobs), "note": run.note}
    return element(
        "section",
        element("h2", run.kind, " ", badge),
        element("p", "since ", _time(run.at)),
        element("dl", *(_fact(name, value) for name, value in facts.items() if value)),
        *(_result(result) for result in run.results),
    )


def _fact(name: str, value: object) -> Markup:
    return element("div", element("dt", name), element("dd", value))


def _result(result: Result) -> Markup:
    status = result.kwargs.get("status")
    report = result.kwargs.get("report")
    parts = [*_status(status), *(_report(report) if isinstance(report, dict) else ())]
    if sha := result.kwargs.get("commit_sha"):
        parts.append(element("p", "commit ", element("code", sha)))
    return _inside(parts)


def _status(status: object) -> list[Markup]:
    if not isinstance(status, dict):
        return [element("p", f"status {status}")]
    line = element("p", f"{status.get('hmessage', '')} (code {status.get('code')})")
    return [line, *([element("pre", status["err"])] if status.get("err") else [])]


def _report(report: Document) -> list[Markup]:
    parts = []
    if issues := report.get("issues"):
        parts.append(_issues(issues))
    parts += [_patch(patch) for patch in report.get("patches") or ()]
    if errors := report.get("errors"):
        said = (element("li", error.get("hmessage")) for error in errors)
        parts.append(element("ul", *said, class_="errors"))
    return parts


def _issues(issues: Sequence[Document]) -> Markup:
    caption = element("caption", f"{len(issues)} issue(s)")
    return _table(caption, ("Where", "Code", "Issue"), map(_issue, issues))


def _table(caption: Markup, columns: Iterable[str], rows: Iterable[Markup]) -> Markup:
    head = element("tr", *(element("th", column, scope="col") for column in columns))
    return element("table", caption, element("thead", head), element("tbody", *rows))


def _issue(issue: Document) -> Markup:
    location, meta = issue.get("location") or {}, issue.get("meta") or {}
    begin = (location.get("position") or {}).get("begin") or {}
    where = f"{location.get('path')}:{begin.get('line')}:{begin.get('column')}"
    source = meta.get("source") if isinstance(meta, dict) else None
    return element(
        "tr",
        element("td", element("code", where)),
        element("td", element("code", issue.get("issue_code"))),
        element("td", issue.get("issue_text"), element("pre", source) if source else ""),
    )


def _patch(patch: Document) -> Markup:
    lines = str(patch.get("patch", "")).splitlines()
    added = sum(line.startswith("+") and not line.startswith("+++") for line in lines)
    removed = sum(line.startswith("-") and not line.startswith("---") for line in lines)
    title = element("summary", element("code", patch.get("path")), f" +{added} −{removed}")
    body = element("pre", *map(_line, lines), class_="diff", tabindex="0")
    return element("details", title, body, open="")


_KINDS = {"+++": "file", "---": "file", "@@": "hunk", "+": "added", "-": "removed"}
"""By how a line of a diff begins; the first that fits."""


def _line(line: str) -> Markup:
    kind = next((kind for start, kind in _KINDS.items() if line.startswith(start)), "same")
    return element("span", f"{line}\n", class_=kind)


def _deliveries(deliveries: Sequence[Delivery]) -> Markup:
    caption = element("caption", "What was brought, and whether its token was good for it")
    rows = map(_delivery, reversed(deliveries))
    table = _table(caption, ("Time", "Where", "Run", "Verdict"), rows)
    return element("section", element("h2", "Deliveries"), table)


def _delivery(delivery: Delivery) -> Markup:
    verdict = f"{delivery.status} {delivery.verdict}"
    return element(
        "tr",
        element("td", _time(delivery.at)),
        element("td", element("code", delivery.path)),
        element("td", element("code", delivery.run_id)),
        element("td", verdict, class_="taken" if delivery.status < 400 else "refused"),
    )


def _time(seconds: float) -> Markup:
    at = datetime.fromtimestamp(seconds, UTC)
    return element("time", f"{at:%H:%M:%S} UTC", datetime=at.isoformat(timespec="seconds"))
