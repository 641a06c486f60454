"""The page of atlas: what it shows, and that nothing it shows can be markup."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from examples.atlas import page
from examples.atlas.runs import Delivery, Result, Run
from tests.examples.conftest import Atlas
from tests.examples.test_atlas_results import ANALYSIS, body_for

MALICIOUS = "<script>alert(1)</script>\"'&<!--"

NOON = 1_700_049_600.0  # 2023-11-15 12:00:00 UTC


class StrictParser(HTMLParser):
    """Fails for an end tag that does not close the last open element."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.scripts += tag == "script"
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def malicious_run() -> Run:
    position = {"begin": {"line": MALICIOUS, "column": MALICIOUS}}
    issue = {
        "issue_code": MALICIOUS,
        "issue_text": MALICIOUS,
        "location": {"path": MALICIOUS, "position": position},
        "meta": {"source": MALICIOUS},
    }
    report = {
        "issues": [issue],
        "patches": [{"path": MALICIOUS, "patch": f"+{MALICIOUS}\n-{MALICIOUS}\n@@{MALICIOUS}\n{MALICIOUS}\n"}],
        "errors": [{"hmessage": MALICIOUS, "level": MALICIOUS}],
    }
    status = {"code": 1, "hmessage": MALICIOUS, "err": MALICIOUS}
    kwargs = {"run_id": MALICIOUS, "status": status, "report": report, "commit_sha": MALICIOUS}
    result = Result(MALICIOUS, MALICIOUS, 0, kwargs)
    return Run(MALICIOUS, MALICIOUS, sent=MALICIOUS, jobs=(MALICIOUS,), results=(result,))


@pytest.mark.parametrize("live", [True, False])
def test_the_page_escapes_everything_it_shows(live: bool) -> None:
    delivery = Delivery(0, MALICIOUS, MALICIOUS, 401, MALICIOUS)
    html = page.render([malicious_run()], [delivery], now=0, live=live)
    parser = StrictParser()
    parser.feed(html)
    assert parser.open == []
    assert parser.scripts == int(live)
    assert "<script>alert" not in html
    assert "".join(parser.texts).count(MALICIOUS) == html.count("&lt;script&gt;") >= 20


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (Run("r1", MALICIOUS, sent="accepted"), "&lt;script&gt;"),
        (Run("r1", "analysis", sent=MALICIOUS), "state &lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;"),
    ],
    ids=["text", "attribute"],
)
def test_text_and_attributes_are_both_escaped(run: Run, expected: str) -> None:
    html = page.render([run], [], now=0, live=False)
    assert expected in html
    assert "<script" not in html


def test_the_page_shows_the_results_that_came(atlas: Atlas) -> None:
    token = atlas.token("r1", "analysis.*")
    atlas.request("POST", ANALYSIS.result_path, json=body_for("r1"), token=token)
    atlas.request("POST", ANALYSIS.result_path, json=body_for("r1"))
    html = atlas.request("GET", "/").text
    for shown in ("r1", "done", "200 accepted", "401 there is no bearer token"):
        assert shown in html


def test_the_policy_allows_exactly_the_script_and_the_style_of_the_page(atlas: Atlas) -> None:
    answer = atlas.request("GET", "/")
    policy = answer.headers["Content-Security-Policy"]
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", answer.text, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in policy


def shown(run: Run, now: float = NOON) -> str:
    """The text of the page, with single spaces between words and elements."""
    parser = StrictParser()
    parser.feed(page.render([run], [], now=now, live=False))
    return " ".join(" ".join(parser.texts).split())


def result(at: float, **kwargs: Any) -> Result:
    return Result(
        "x", "analysis", at, {"run_id": "r1", "status": {"code": 0, "hmessage": "Fine.", "err": ""}, **kwargs}
    )


def test_a_run_in_progress_shows_when_it_was_sent_and_for_how_long_it_runs() -> None:
    text = shown(Run("r1", "analysis", sent="accepted", at=NOON, jobs=("job-1",)), now=NOON + 5.04)
    assert "Job job-1 Sent 2023-11-15 12:00:00 UTC Elapsed 5.0 s" in text
    assert "Finished" not in text


def test_a_finished_run_shows_its_duration() -> None:
    run = Run("r1", "analysis", sent="accepted", at=NOON, jobs=("job-1",), results=(result(NOON + 83),))
    text = shown(run, now=NOON + 1000)
    assert "Sent 2023-11-15 12:00:00 UTC Finished 2023-11-15 12:01:23 UTC Duration 1 min 23 s" in text
    assert "Fine. (code 0)" in text


def test_a_run_that_another_process_sent_shows_no_duration() -> None:
    text = shown(Run("r1", "analysis", at=NOON, results=(result(NOON),)))
    assert "First result 2023-11-15 12:00:00 UTC Finished 2023-11-15 12:00:00 UTC" in text
    assert "Duration" not in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (3599.4, "59 min 59 s"), (3599.6, "1 h 00 min")],
)
def test_a_duration_is_rounded_to_what_people_read(seconds: float, text: str) -> None:
    assert page.duration(seconds) == text


@pytest.mark.parametrize(
    "report",
    [
        None,
        "text",
        {"issues": None, "patches": 1, "errors": {}},
        {"issues": ["text"], "patches": [None], "errors": [[]]},
        {"issues": [{"location": "text", "meta": None}], "patches": [{"patch": None}], "errors": [{}]},
    ],
)
def test_a_malformed_report_does_not_break_the_page(report: Any) -> None:
    assert "Fine. (code 0)" in shown(Run("r1", "analysis", at=NOON, results=(result(NOON, report=report),)))


def test_a_status_that_is_a_number_is_shown() -> None:
    assert "Status (code 3)" in shown(Run("r1", "ssh-verify", at=NOON, results=(result(NOON, status=3),)))
