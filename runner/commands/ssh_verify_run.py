"""`ssh_verify_run`: a job that tries the key against the repository with `git ls-remote`.

Its exit code (`EXIT_CODES` of the payload) says what was found; the result that atlas gets is this number.
"""

from __future__ import annotations

from runner.commands import assembly, containers, names
from runner.commands.fingerprints import fingerprint
from runner.config.types import Config
from runner.jobs import Container, JobSpec, Secret, SecretRef, Text, TokenClaims
from runner.payloads.ssh_verify_run import SshVerifyRun

TIME_LIMIT = 120
"""Seconds for one ls-remote; a host that does not answer has failed."""

# Fixed text: the request fills $1 (a login or nothing), $2 (a port or nothing) and REMOTE_URL only, and git's own shell
# reads those from the environment too. ssh wants the key in a file that no other user can read; /dev/null as its config
# keeps the image's out of it.
SCRIPT = r"""
umask 077
SSH_DIRECTORY=$(mktemp -d) || exit 14
trap 'rm -rf "$SSH_DIRECTORY"' EXIT
printf '%s\n' "$SSH_PRIVATE_KEY" > "$SSH_DIRECTORY/id"
printf '%s\n' "$KNOWN_HOSTS" > "$SSH_DIRECTORY/known_hosts"
SSH_LOGIN=$1 SSH_PORT=$2
export SSH_DIRECTORY SSH_LOGIN SSH_PORT GIT_TERMINAL_PROMPT=0 GIT_ALLOW_PROTOCOL=ssh:file LC_ALL=C
export GIT_SSH_COMMAND='ssh -F /dev/null -i "$SSH_DIRECTORY/id" -o IdentitiesOnly=yes -o BatchMode=yes \
-o ConnectTimeout=30 -o StrictHostKeyChecking="$HOST_KEYS" -o UserKnownHostsFile="$SSH_DIRECTORY/known_hosts" \
${SSH_LOGIN:+-l "$SSH_LOGIN"} ${SSH_PORT:+-p "$SSH_PORT"}'
git ls-remote -q -- "$REMOTE_URL" HEAD > /dev/null 2> "$SSH_DIRECTORY/err"
code=$?
cat "$SSH_DIRECTORY/err" >&2
[ "$code" = 0 ] && { echo "the key opens the repository"; exit 0; }
found() { grep -qiE "$1" "$SSH_DIRECTORY/err"; }
found 'host key verification failed|host key is known' && exit 11
found 'permission denied|too many authentication failures|error in libcrypto|invalid format' && exit 10
found 'could not resolve|connection (refused|timed out|reset)|no route|unreachable|operation timed out' && exit 12
found 'repository.*not (found|exist)|could not be found|does not (exist|appear)|not a git repository' && exit 13
exit 14
"""
COMMAND = ("/bin/sh", "-c", SCRIPT, "ssh-verify")
_CHECKING = {"accept-new": "accept-new", "strict": "yes", "ignore": "no"}


def plan(request: SshVerifyRun, config: Config) -> tuple[JobSpec, ...]:
    """One job; its result is published by us."""
    name = names.job_name(f"ssh-verify-{request.run_id}")
    report = assembly.report("ssh_verify_run", request.run_id)
    secrets: dict[str, Secret | TokenClaims] = {"REMOTE_URL": Secret(request.ssh_meta.remote_url)}
    if request.keys.ssh.private:
        secrets["SSH_PRIVATE_KEY"] = Secret(request.keys.ssh.private)
    job = assembly.job(
        config,
        name=name,
        report=report,
        fingerprint=fingerprint(report.request_type, request),
        requested_pool=request.meta.get("resource_pool", ""),
        init=None,
        main=_container(request, config, containers.reference(secrets, "SSH_PRIVATE_KEY")),
        secrets=secrets,
        run=TIME_LIMIT,
    )
    return (job,)


def _container(request: SshVerifyRun, config: Config, private_key: Text) -> Container:
    meta = request.ssh_meta
    return Container(
        name="ssh-verify",
        image=config.ssh_verify.image or containers.image(config, "coat", "latest"),
        command=COMMAND,
        args=(meta.user, str(meta.port) if meta.port else ""),
        env=(
            ("REMOTE_URL", SecretRef(name="REMOTE_URL")),
            ("SSH_PRIVATE_KEY", private_key),
            ("HOST_KEYS", _CHECKING[config.ssh_verify.host_keys]),
            ("KNOWN_HOSTS", config.ssh_verify.known_hosts),
        ),
        requests=containers.COAT_REQUESTS,
        limits=containers.COAT_LIMITS,
    )
