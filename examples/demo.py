"""`make demo`: a real analysis and a real autofix on this host, from nothing, and the result shown.

    git repository ─▶ atlas ─▶ Orchestrator ─▶ job: coat clones ─▶ marvin works ─▶ atlas

Everything is made in a fresh directory and ended at the end; `--keep` leaves it running to look at.
Exit codes: 0 all went well, 1 it did not (the reason is printed), 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

import click

from examples import sample
from examples.atlas import page
from examples.atlas.orchestrator import NotAccepted
from examples.atlas.runs import Run
from examples.installation import Installation, InstallationError, installed

FAILED, INTERRUPTED = 1, 130
ACCEPT_SECONDS, RUN_SECONDS = 30.0, 60.0
LONGEST_SOCKET_DIRECTORY = 80
"""Bytes: the kernel takes socket paths of about a hundred (unix(7))."""

Document = dict[str, Any]


class DemoError(Exception):
    """Why the demo did not come to its end."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--keep", is_flag=True, help="Leave everything running, until Ctrl-C.")
@click.option("--protocol", type=click.Choice(["http", "grpc", "amqp"]), default="http", help="How atlas sends tasks.")
def main(keep: bool, protocol: str) -> None:
    """Run a real analysis and a real autofix on this host, and show the result."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    progress = Progress()
    try:
        show(progress, keep, protocol)
    except (DemoError, InstallationError, NotAccepted, OSError, SubprocessError) as error:
        progress.say(click.style("It did not work: ", fg="red", bold=True) + str(error))
        sys.exit(FAILED)
    except KeyboardInterrupt:
        progress.say("interrupted; all has been ended")
        sys.exit(INTERRUPTED)


class Progress:
    """Lines with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line; colours only where a person looks."""
        click.echo(f"[{time.monotonic() - self._start:5.1f} s] {text}")
        sys.stdout.flush()


def show(progress: Progress, keep: bool, protocol: str) -> None:
    """The whole story."""
    directory = _fresh_directory()
    repository = sample.make_repository(directory / "repository")
    progress.say(f"made a git repository with two commits, {repository.checkout_oid[:12]} on top")
    with installed(directory, protocol) as installation:
        progress.say(f"started atlas at {installation.atlas_url}, and the Orchestrator")
        installation.wait_until_ready()
        progress.say(f"the Orchestrator is ready at {installation.url}")
        analysis = perform(installation, progress, "analysis", sample.analysis(repository))
        issues = analysis["issues"]
        request = sample.autofix(repository, issues)
        autofix = perform(installation, progress, "autofix", request)
        _show_issues(issues)
        _show_patches(autofix["patches"])
        progress.say(_summary(analysis, autofix))
        if keep:
            _stay(installation)
        _save_page(installation)
    _show_places(installation)


def _fresh_directory() -> Path:
    directory = tempfile.mkdtemp(prefix="orchestrator-demo-")
    if len(directory.encode()) > LONGEST_SOCKET_DIRECTORY:
        Path(directory).rmdir()
        directory = tempfile.mkdtemp(prefix="orchestrator-demo-", dir="/tmp")
    return Path(directory)


def perform(
    installation: Installation,
    progress: Progress,
    kind: str,
    request: Document,
) -> Document:
    """Send a request and wait for its result. Gives the report; raises DemoError without one."""
    run_id, runs = request["run_id"], installation.runs
    runs.update(run_id, kind, sent="sending")
    progress.say(f"{kind}: sending")

    def repeating(reason: str, seconds: float) -> None:
        installation.check_running()
        progress.say(f"{kind}: sending again in {seconds:g} s, since {reason}")

    jobs = installation.orchestrator.send(kind, request, ACCEPT_SECONDS, repeating)
    names = tuple(job["name"] for job in jobs)
    runs.update(run_id, kind, sent="accepted", jobs=names)
    progress.say(f"{kind}: accepted; driver {jobs[0]['driver']} has job {', '.join(names)}")
    run = _wait_for(installation, run_id)
    progress.say(f"{kind}: {run.state}")
    if run.state != "done":
        raise DemoError(f"the {kind} ended as {run.state}\n{_reasons(installation, run)}")
    report: Document = run.results[0].kwargs.get("report", {})
    return report


def _wait_for(installation: Installation, run_id: str) -> Run:
    end = time.monotonic() + RUN_SECONDS
    while True:
        run = installation.runs.get(run_id)
        if run is not None and run.ended:
            return run
        installation.check_running()
        if time.monotonic() > end:
            raise DemoError(f"no result within {RUN_SECONDS:.0f} s\n{_reasons(installation, run)}")
        installation.runs.wait(0.5)


def _reasons(installation: Installation, run: Run | None) -> str:
    """What the results say and the jobs printed; without a result, what the Orchestrator logged."""
    if run is None or not run.results:
        return installation.log_tail()
    said = []
    for result in run.results:
        status = result.kwargs["status"]
        said.append(f"{status['hmessage']} (code {status['code']})\n{status['err']}")
    logs = [f"the log of {job}:\n{installation.ask('jobs', 'logs', job)}" for job in run.jobs]
    return "\n".join([*said, *logs])


def _show_issues(issues: Sequence[Document]) -> None:
    click.echo(click.style(f"\n{len(issues)} issues found", bold=True))
    for issue in issues:
        location = issue["location"]
        begin = location["position"]["begin"]
        where = f"{location['path']}:{begin['line']}:{begin['column']}"
        code = click.style(issue["issue_code"], fg="yellow")
        click.echo(f"  {where:<26} {code}  {issue['issue_text']}")


_COLOURS = (("+++", None), ("---", None), ("@@", "cyan"), ("+", "green"), ("-", "red"))


def _show_patches(patches: Sequence[Document]) -> None:
    click.echo(click.style("\nThe patch made", bold=True))
    for line in "".join(patch["patch"] for patch in patches).splitlines():
        colour = next((colour for start, colour in _COLOURS if line.startswith(start)), None)
        click.echo(f"  {click.style(line, fg=colour)}")
    click.echo()


def _summary(analysis: Document, autofix: Document) -> str:
    fixed, changed = len(autofix["issues_fixed"]), len(autofix["changed_files"])
    return f"done: {len(analysis['issues'])} issues found, {fixed} fixed in {changed} files"


def _stay(installation: Installation) -> None:
    try:
        click.echo(f"The page with all of it: {installation.atlas_url}/")
        click.echo(f"The Orchestrator: {installation.url}, configured by {installation.config}")
        click.echo("Everything keeps running until Ctrl-C.")
        while True:
            installation.check_running()
            time.sleep(0.5)
    except KeyboardInterrupt:
        click.echo("\nEnding everything.")


def _save_page(installation: Installation) -> None:
    runs = installation.runs
    html = page.render(runs.all(), runs.deliveries(), live=False)
    (installation.directory / "report.html").write_text(html)


def _show_places(installation: Installation) -> None:
    click.echo(f"Report         {installation.directory / 'report.html'}")
    click.echo(f"Jobs and logs  {installation.jobs}")
    click.echo(f"Orchestrator   {installation.log}, configured by {installation.config}")


if __name__ == "__main__":
    main()
