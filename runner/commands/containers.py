"""The two programs of a job, coat and marvin, to the letter of the wire contract.

Nothing from a request is ever part of a shell's text: requests fill arguments and environment only.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from runner.config.types import Config
from runner.errors import TooLarge
from runner.jobs import Container, Report, Resources, Secret, SecretRef, Text, TokenClaims, Volume
from runner.payloads.fields import Keys, VcsMeta

TIME_LIMIT = 1500
"""Seconds that the analyzer has: the variable of that name in its environment."""

MAX_ARGUMENT = 131072 - 1
"""Bytes of one argument or environment string: Linux' MAX_ARG_STRLEN (execve(2)), less the closing NUL."""

_SURELY_FITS = MAX_ARGUMENT // 4 - 1
"""Characters; UTF-8 makes at most four bytes of each."""

COAT_COMMAND = ("/app/coat",)
COAT_REQUESTS = Resources(cpu=300, memory=500)
COAT_LIMITS = Resources(cpu=1400, memory=4000)

# The image's /toolbox is where the analyzer lives, so nothing may be mounted over it; marvin joins it there.
MARVIN_COMMAND = (
    "/bin/sh",
    "-c",
    'cp /marvin/marvin /toolbox/marvin && exec /toolbox/marvin "$@"',
    "marvin",
)


def image(config: Config, name: str, version: str) -> str:
    """A full image reference; the registry may carry a port and a path."""
    registry = config.cluster.image_registry.registry_url.rpartition("://")[2].strip("/")
    return f"{registry}/{name}:{version}" if registry else f"{name}:{version}"


def coat(config: Config, flags: tuple[Text, ...], env: tuple[tuple[str, Text], ...]) -> Container:
    """The container that clones."""
    return Container(
        name="coat",
        image=image(config, "coat", "latest"),
        command=COAT_COMMAND,
        args=flags,
        env=env,
        requests=COAT_REQUESTS,
        limits=COAT_LIMITS,
    )


def clone(
    config: Config,
    run_id: str,
    check_seq: str,
    vcs: VcsMeta,
    secrets: Mapping[str, Secret | TokenClaims],
    report: Report,
    *,
    artifacts: tuple[Text, ...] = (),
) -> Container:
    """coat before marvin. `artifacts` is the flag with its value, where the request type has it."""
    flags: tuple[Text, ...] = (
        *("--run-id", run_id, "--check-seq", check_seq),
        *("--remote-url", reference(secrets, "REMOTE_URL")),
        *("--base-branch", vcs.base_branch),
        *("--checkout-oid", vcs.checkout_oid),
        *("--clone-submodules", flag(vcs.clone_submodules)),
        *artifacts,
        *("--decrypt-remote-url", "false"),
    )
    return coat(config, flags, (*key_env(secrets), *publisher_env(config, secrets, report)))


def marvin(
    config: Config,
    *,
    reference: str,
    flags: tuple[Text, ...],
    limits: Resources,
    secrets: Mapping[str, Secret | TokenClaims],
    report: Report,
) -> Container:
    """The container that analyses, fixes or transforms; it gets exactly what it is limited to."""
    sizes = (("MEMORY_LIMIT", f"{limits.memory}Mi"), ("CPU_LIMIT", f"{limits.cpu}m"))
    return Container(
        name="marvin",
        image=reference,
        command=MARVIN_COMMAND,
        args=flags,
        env=(*PATHS, *sizes, *main_env(config, secrets, report)),
        requests=limits,
        limits=limits,
    )


PATHS: tuple[tuple[str, Text], ...] = (("CODE_PATH", "/code"), ("TOOLBOX_PATH", "/toolbox"))


def main_env(
    config: Config, secrets: Mapping[str, Secret | TokenClaims], report: Report
) -> tuple[tuple[str, Text], ...]:
    """What every main container sees besides its paths and sizes."""
    return (
        ("TIME_LIMIT", str(TIME_LIMIT)),
        ("ON_PREM", "true"),
        *publisher_env(config, secrets, report),
    )


def key_env(secrets: Mapping[str, Secret | TokenClaims]) -> tuple[tuple[str, Text], ...]:
    """The key pair that opens the repository."""
    return tuple((name, reference(secrets, name)) for name in ("SSH_PRIVATE_KEY", "SSH_PUBLIC_KEY"))


def publisher_env(
    config: Config, secrets: Mapping[str, Secret | TokenClaims], report: Report
) -> tuple[tuple[str, Text], ...]:
    """How a job publishes its result."""
    return (
        ("PUBLISHER", "http"),
        ("RESULT_HTTP_URL", f"{config.atlas_url}{report.path}"),
        ("RESULT_HTTP_TOKEN", reference(secrets, "RESULT_HTTP_TOKEN")),
        ("RESULT_RMQ_TASK", report.task),
        ("ARTIFACTS_CREDENTIALS_PATH", "/credentials/credentials"),
        ("SENTRY_DSN", reference(secrets, "SENTRY_DSN")),
    )


def reference(secrets: Mapping[str, Secret | TokenClaims], name: str) -> Text:
    """A reference to the secret, or the empty string where the job has none of that name."""
    return SecretRef(name=name) if name in secrets else ""


def secrets(config: Config, vcs: VcsMeta | None, keys: Keys, token: TokenClaims) -> dict[str, Secret | TokenClaims]:
    """Everything secret in a job; what is empty is left out."""
    known = {
        "REMOTE_URL": Secret(vcs.remote_url if vcs else ""),
        "SSH_PRIVATE_KEY": Secret(keys.ssh.private),
        "SSH_PUBLIC_KEY": Secret(keys.ssh.public),
        "SENTRY_DSN": config.sentry_dsn,
    }
    return {"RESULT_HTTP_TOKEN": token, **{name: value for name, value in known.items() if value}}


def config_flag(config: msgspec.Raw) -> tuple[Text, ...]:
    """The repository's settings as the sender wrote them. Only white space changes; numbers keep their text."""
    return ("--config", msgspec.json.format(bytes(config), indent=-1).decode())


def storage_flags(config: Config) -> tuple[Text, ...]:
    """Where snippets are kept."""
    storage = config.object_storage
    return ("--snippet-storage-type", storage.provider, "--snippet-storage-bucket", storage.bucket)


def flag(value: bool) -> str:
    """A boolean as the images' flags spell it."""
    return "true" if value else "false"


def volumes(config: Config) -> tuple[Volume, ...]:
    """The directories that all containers share."""
    return (
        Volume(name="codedir", path="/code"),
        Volume(name="artifactsdir", path="/artifacts"),
        Volume(name="ssh", path="/home/runner/.ssh"),
        Volume(name="marvindir", path="/marvin"),
        Volume(name="credentialsdir", path="/credentials", existing_secret=config.artifact_secret_name),
    )


def refuse_oversized(containers: tuple[Container, ...], secrets: Mapping[str, Secret | TokenClaims]) -> None:
    """Raises TooLarge for an argument that no kernel would pass to the program."""
    for container in containers:
        for index, argument in enumerate(container.args):
            if isinstance(argument, str) and len(argument) > _SURELY_FITS:
                _refuse_over(argument, f"the value of {container.args[index - 1]} of {container.name}")
    for name, secret in secrets.items():
        if isinstance(secret, Secret) and len(secret.reveal()) > _SURELY_FITS - len(name):
            _refuse_over(f"{name}={secret.reveal()}", f"the value behind {name}")


def _refuse_over(value: str, what: str) -> None:
    if (size := len(value.encode())) > MAX_ARGUMENT:
        raise TooLarge(f"{what} has {size} bytes; a program can be given {MAX_ARGUMENT} at most")
