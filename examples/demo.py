"""`make demo`: runs a real analysis and a real autofix on this host, and prints the results.

    git repository ─▶ atlas ─▶ Orchestrator ─▶ job: coat clones ─▶ marvin analyses ─▶ atlas

Everything is in a new directory, and every process ends with the demo; `--keep` leaves them running until Ctrl-C.
Exit codes: 0 success, 1 failure (the reason is printed), 130 interrupted.
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
from examples.atlas.clients.retry import NotAccepted
from examples.atlas.runs import Run
from examples.installation import Installation, InstallationError, running_installation

FAILED, INTERRUPTED = 1, 130
ACCEPT_SECONDS, RUN_SECONDS = 30.0, 60.0
MAX_DIRECTORY = 80
"""Bytes of the directory's path. The sidecar's socket is in it, and a socket's path has at most 107 bytes (unix(7))."""

Document = dict[str, Any]


class DemoError(Exception):
    """Why the demo could not finish."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--keep", is_flag=True, help="Leave everything running, until Ctrl-C.")
@click.option("--protocol", type=click.Choice(["http", "grpc", "amqp"]), default="http", help="How atlas sends tasks.")
def main(keep: bool, protocol: str) -> None:
    """Run a real analysis and a real autofix on this host, and print the results."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    progress = Progress()
    try:
        run_demo(progress, keep, protocol)
    except (DemoError, InstallationError, NotAccepted, OSError, SubprocessError) as error:
        progress.write(click.style("The demo failed: ", fg="red", bold=True) + str(error))
        sys.exit(FAILED)
    except KeyboardInterrupt:
        progress.write("interrupted; every process has ended")
        sys.exit(INTERRUPTED)


class Progress:
    """Prints lines with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def write(self, text: str) -> None:
        """Print a line. click removes colours where the output is not a terminal."""
        click.echo(f"[{time.monotonic() - self._start:5.1f} s] {text}")
        sys.stdout.flush()


def run_demo(progress: Progress, keep: bool, protocol: str) -> None:
    """All steps of the demo, in their order."""
    directory = _new_directory()
    repository = sample.make_repository(directory / "repository")
    progress.write(f"made a git repository with two commits, the last is {repository.checkout_oid[:12]}")
    with running_installation(directory, protocol) as installation:
        progress.write(f"started atlas at {installation.atlas_url}, and the Orchestrator")
        installation.wait_until_ready()
        runs = installation.runs
        progress.write(f"{page.utc(runs.now())}: the Orchestrator is ready at {installation.url}")
        analysis = perform(installation, progress, "analysis", sample.analysis(repository))
        issues = analysis["issues"]
        autofix = perform(installation, progress, "autofix", sample.autofix(repository, issues))
        _print_issues(issues)
        _print_patches(autofix["patches"])
        progress.write(f"{page.utc(runs.now())}: {_summary(analysis, autofix)}")
        if keep:
            _wait_for_interrupt(installation)
        _save_page(installation)
    _print_places(installation)


def _new_directory() -> Path:
    directory = tempfile.mkdtemp(prefix="orchestrator-demo-")
    if len(directory.encode()) > MAX_DIRECTORY:
        Path(directory).rmdir()
        directory = tempfile.mkdtemp(prefix="orchestrator-demo-", dir="/tmp")
    return Path(directory)


def perform(
    installation: Installation,
    progress: Progress,
    name: str,
    request: Document,
) -> Document:
    """Send a request of that type and wait for its result. Gives the report; raises DemoError for any other end."""
    run_id, runs = request["run_id"], installation.runs
    runs.update(run_id, name, sent="sending")
    progress.write(f"{name}: sending")

    def on_retry(reason: str, seconds: float) -> None:
        installation.check_running()
        progress.write(f"{name}: sending again in {seconds:g} s, because {reason}")

    jobs = installation.client.send(name, request, ACCEPT_SECONDS, on_retry)
    names = tuple(job["name"] for job in jobs)
    runs.update(run_id, name, sent="accepted", jobs=names)
    progress.write(f"{name}: accepted; driver {jobs[0]['driver']} has job {', '.join(names)}")
    run = _wait_for(installation, run_id)
    progress.write(f"{name}: {run.state}{_after(run)}")
    if run.state != "done":
        raise DemoError(f"the {name} ended as {run.state}\n{_reasons(installation, run)}")
    report: Document = run.results[0].kwargs.get("report", {})
    return report


def _after(run: Run) -> str:
    return "" if run.finished is None else f" after {page.duration(run.finished - run.at)}"


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
    """The status of every result and the logs of the jobs. Without a result, the log of the Orchestrator."""
    if run is None or not run.results:
        return installation.log_tail()
    reasons = []
    for result in run.results:
        status = result.kwargs["status"]
        reasons.append(f"{status['hmessage']} (code {status['code']})\n{status['err']}")
    logs = [f"the log of {job}:\n{installation.command('jobs', 'logs', job)}" for job in run.jobs]
    return "\n".join([*reasons, *logs])


def _print_issues(issues: Sequence[Document]) -> None:
    click.echo(click.style(f"\n{len(issues)} issues found", bold=True))
    for issue in issues:
        location = issue["location"]
        begin = location["position"]["begin"]
        place = f"{location['path']}:{begin['line']}:{begin['column']}"
        code = click.style(issue["issue_code"], fg="yellow")
        click.echo(f"  {place:<26} {code}  {issue['issue_text']}")


_COLOURS = (("+++", None), ("---", None), ("@@", "cyan"), ("+", "green"), ("-", "red"))


def _print_patches(patches: Sequence[Document]) -> None:
    click.echo(click.style("\nThe patch", bold=True))
    for line in "".join(patch["patch"] for patch in patches).splitlines():
        colour = next((colour for start, colour in _COLOURS if line.startswith(start)), None)
        click.echo(f"  {click.style(line, fg=colour)}")
    click.echo()


def _summary(analysis: Document, autofix: Document) -> str:
    fixed, changed = len(autofix["issues_fixed"]), len(autofix["changed_files"])
    return f"done: {len(analysis['issues'])} issues found, {fixed} fixed in {changed} files"


def _wait_for_interrupt(installation: Installation) -> None:
    try:
        click.echo(f"The page of atlas: {installation.atlas_url}/")
        click.echo(f"The Orchestrator: {installation.url}, configured by {installation.config}")
        click.echo("Everything keeps running until Ctrl-C.")
        while True:
            installation.check_running()
            time.sleep(0.5)
    except KeyboardInterrupt:
        click.echo("\nStopping everything.")


def _save_page(installation: Installation) -> None:
    runs = installation.runs
    html = page.render(runs.all(), runs.deliveries(), now=runs.now(), live=False)
    (installation.directory / "report.html").write_text(html, "utf-8")


def _print_places(installation: Installation) -> None:
    click.echo(f"Report         {installation.directory / 'report.html'}")
    click.echo(f"Jobs and logs  {installation.jobs}")
    click.echo(f"Orchestrator   {installation.log}, configured by {installation.config}")


if __name__ == "__main__":
    main()
