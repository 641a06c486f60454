"""`render` and `submit`: a request by hand."""

from __future__ import annotations

import http.client
import os
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec

from runner import payloads
from runner.cli.configuration import config_option, load_or_exit
from runner.commands import plan
from runner.config import loading as configuration
from runner.config.types import Config
from runner.errors import Problem, Unavailable, revive
from runner.jobs import Action, JobResult, JobSpec
from runner.request_types import REQUEST_TYPES, RequestType
from runner.runtime import exit_codes
from runner.runtime.clock import SystemClock
from runner.security.masking import shown


class RequestTypeParameter(click.ParamType[RequestType]):
    """A request type by its full name, its short name or its path's last part."""

    name = "TYPE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> RequestType:
        """Its row in the table."""
        known = {name: row for row in REQUEST_TYPES.values() for name in (*row.short_names, *row.spellings)}
        if value not in known:
            self.fail(f"{value!r} is no request type; there are {', '.join(REQUEST_TYPES)}", param, ctx)
        return known[value]


_TYPES = ", ".join(row.short_names[0] for row in REQUEST_TYPES.values())
type_argument = click.argument("row", metavar="TYPE", type=RequestTypeParameter())
payload_argument = click.argument("payload", type=click.File("rb"))


@click.command(
    help=f"""Show what a request would create, without a cluster.

    TYPE is a request type ({_TYPES}); PAYLOAD is a file with the JSON that atlas would send, or - for standard input.
    Without a configuration file, its defaults are used.
    """
)
@type_argument
@payload_argument
@config_option
@click.option(
    "--driver",
    type=click.Choice(["kubernetes", "nomad"]),
    help="In whose words.  [default: as the job's pool says, else kubernetes]",
)
@click.option("--reveal", is_flag=True, help="Show the secrets' values; sign a real token.")
def render(row: RequestType, payload: Any, path: str | None, driver: str | None, reveal: bool) -> None:
    """What its help says, which names the request types of the table."""
    located = configuration.locate(path, os.environ)
    config = load_or_exit(path) if path or located.exists() else Config()
    policy = payloads.RequestPolicy(runner_id="", public_key="", allow_file_remotes=config.remotes.allow_file)
    request = payloads.decode(payload.read(), row.payload, policy)
    for action in plan(request, config):
        pool = action.pool if isinstance(action, JobSpec) else config.default_pool
        click.echo(_rendered(action, config, driver or config.driver_of(pool), reveal), nl=False)


def _rendered(action: Action, config: Config, driver: str, reveal: bool) -> str:
    from runner.drivers import printer
    from runner.drivers.kubernetes.manifest import tombstone_manifest
    from runner.drivers.nomad import rendering

    if isinstance(action, JobSpec):
        values = _values(action, config) if reveal else None
        render = rendering.render if driver == "nomad" else printer.render
        return render(action, config, values)
    click.echo(f"If {action.name} is there, it is stopped; else this takes its name:", err=True)
    if driver == "nomad":
        return rendering.render_cancellation(action, config)
    return printer.as_yaml([tombstone_manifest(action, config, config.default_pool)])


def _values(job: JobSpec, config: Config) -> dict[str, str]:
    from runner.jobs import Secret
    from runner.security.tokens import Signer

    if config.runner.private_key:
        return Signer(config.runner.private_key, config.runner.id, SystemClock().wall).resolve_secrets(job)
    unsigned = "(no runner.privateKey is configured to sign it with)"
    return {name: each.reveal() if isinstance(each, Secret) else unsigned for name, each in job.secrets.items()}


@click.command()
@type_argument
@payload_argument
@click.option("--url", required=True, help="The Orchestrator, like http://127.0.0.1:8080")
@click.option(
    "--token",
    envvar="ORCHESTRATOR_TOKEN",
    help="A bearer token, or @FILE with one; `token` makes one.  [env: ORCHESTRATOR_TOKEN]",
)
@click.option("--timeout", default=15.0, show_default=True, help="Seconds to wait for the answer.")
def submit(row: RequestType, payload: Any, url: str, token: str | None, timeout: float) -> None:
    """Send a request to a running Orchestrator, as atlas would, and print the jobs it made.

    TYPE and PAYLOAD are as for render. Repeating a request is harmless.
    """
    if token and token.startswith("@"):
        token = _token_in(Path(token[1:]))
    if token and not _TOKEN.match(token):
        raise click.BadParameter("is no bearer token (RFC 6750, 2.1)", param_hint="--token")
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    answer = _post(f"{url.rstrip('/')}{row.paths[0]}", payload.read(), headers, timeout)
    try:
        jobs = msgspec.json.decode(answer, type=SubmitResponse).jobs
    except (msgspec.MsgspecError, UnicodeDecodeError):
        _give_up(200, answer)
    for job in jobs:
        click.echo(f"{job.state:<10} {job.driver:<11} {job.name}")


_TOKEN = re.compile(r"\A[A-Za-z0-9._~+/-]+=*\Z")


def _token_in(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path} cannot be read: {error}", param_hint="--token") from error


class SubmitResponse(msgspec.Struct, frozen=True):
    """What a request was answered with."""

    jobs: tuple[JobResult, ...]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Redirects are not followed: a redirect could send the token to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(url: str, body: bytes, headers: dict[str, str], timeout: float) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise click.BadParameter("must begin with http:// or https://", param_hint="--url")
    # S310: the scheme has just been checked.
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=timeout) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        raise _problem(error.code, error.read()) from error
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{url} did not answer: {error}") from error


def _problem(status: int, body: bytes) -> Exception:
    try:
        problem = msgspec.json.decode(body)
        problems = [Problem(each["pointer"], each["message"]) for each in problem.get("errors", ())]
        return revive(problem["code"], problem["detail"], None, problems)
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        _give_up(status, body)


def _give_up(status: int, body: bytes) -> NoReturn:
    click.echo(f"HTTP {status}, and not from an Orchestrator: {shown(body.decode(errors='replace'))[:200]}", err=True)
    sys.exit(exit_codes.DEFECT)
