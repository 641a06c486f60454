"""A job as a Nomad batch job. Pure; `render` prints what the driver would register.

Fields and their meaning: Nomad's documentation, "JSON Job Specification" and "Docker task driver". What Nomad
interpolates is from its source (1.11) and from tests: a task's `Config` is HCL (`${x}` and `%{x}`), `Env` is replaced
in one pass (`${x}`), a template's text is a Go template (`{{ }}`). `escape_argument` and `escape_env` are the two
escapes; no text from a request is part of a template.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from runner.config.drivers import LocalImage, NomadConstraint, PoolSettings
from runner.config.types import Config
from runner.drivers.nomad.variable import FINGERPRINT, NONCE, OPEN, POOL, REPORT, decode, encode, variable_path
from runner.jobs import Container, Deadlines, JobSpec, Secret, SecretRef, Text, Volume

DEADLINES = "orchestrator_deadlines"
MAIN = "orchestrator_main"
INIT = "orchestrator_init"
REQUEST_ID = "orchestrator_request_id"
TRACEPARENT = "orchestrator_traceparent"
GROUP = "job"

_DOLLAR = "orchestrator_dollar"
_USER, _GROUP = 1000, 3000
_KILL_SECONDS = 30
_NANOSECONDS = 1_000_000_000

# Nomad makes these directories writable for any user, and keeps them as long as the allocation. The docker driver
# mounts paths below the allocation even if it is configured to mount no others. `{first}` is the job's first task.
_SHARED = {
    "codedir": "../alloc/data",
    "marvindir": "../alloc/tmp",
    "artifactsdir": "../{first}/local",
    "ssh": "../{first}/tmp",
}

_CREDENTIALS = "secrets/credentials"
_ROOT = "${NOMAD_ALLOC_DIR}/data"

# Fixed text: it creates the contract's directories below $ORCHESTRATOR_ROOT, then executes the program.
_PREPARE = (
    'cd "$ORCHESTRATOR_ROOT" && mkdir -p code artifacts home/runner/.ssh marvin toolbox tmp'
    ' && ln -sfn "$NOMAD_SECRETS_DIR/credentials" credentials && cd code && exec "$@"'
)

_BEFORE_A_BRACE = re.compile(r"[$%]+(?=\{)")

Specification = dict[str, Any]


def specification(job: JobSpec, config: Config, nonce: str = "") -> Specification:
    """The job. It refers to its secrets by name only. `nonce` identifies the submit that registers it."""
    nomad = config.nomad
    pool = config.pools.get(job.pool, PoolSettings())
    return {
        "ID": job.name,
        "Name": job.name,
        "Type": "batch",
        "Namespace": namespace_of(config, job.pool),
        **({"Region": nomad.region} if nomad.region else {}),
        "Priority": pool.priority or nomad.priority,
        "Datacenters": list(pool.datacenters or nomad.datacenters),
        "NodePool": pool.node_pool or nomad.node_pool,
        "Constraints": _constraints(config, pool),
        "Meta": _meta(job, nonce),
        "TaskGroups": [
            {
                "Name": GROUP,
                "Count": 1,
                "RestartPolicy": {"Attempts": 0, "Mode": "fail"},
                "ReschedulePolicy": {"Attempts": 0, "Unlimited": False},
                "Tasks": [_task(job, container, config) for container in job.containers],
            }
        ],
    }


def namespace_of(config: Config, pool: str) -> str:
    """The namespace of a pool's jobs."""
    settings = config.pools.get(pool)
    return (settings.namespace if settings else "") or config.nomad.namespace


def escape_argument(text: str) -> str:
    """Escape a string of a task's `Config`, so that it arrives unchanged.

    HCL reads `$${` as `${`, but `$$${` differently. So every `$` or `%` before a brace is written as an interpolation
    of a constant.
    """
    if "{" not in text:  # the usual case
        return text
    return _BEFORE_A_BRACE.sub(lambda run: "".join(f'${{"{sign}"}}' for sign in run[0]), text)


def escape_env(text: str) -> str:
    """Escape a string of a task's `Env`, so that it arrives unchanged: the dollar comes from the job's Meta."""
    return text.replace("${", f"${{NOMAD_META_{_DOLLAR}}}{{")


def image_on_node(config: Config, image: str) -> LocalImage:
    """The program that replaces an image for task drivers without images. If empty, use the container's command."""
    name = image.rpartition("/")[2].partition(":")[0]
    images = config.nomad.images
    return next((images[glob] for glob in images if fnmatchcase(name, glob)), LocalImage())


def _meta(job: JobSpec, nonce: str) -> dict[str, str]:
    return {
        **job.labels,
        **job.pod_labels,
        FINGERPRINT: job.fingerprint,
        POOL: job.pool,
        REQUEST_ID: job.report.request_id,
        **({TRACEPARENT: job.report.traceparent} if job.report.traceparent else {}),
        NONCE: nonce,
        REPORT: encode(job.report),
        DEADLINES: encode(job.deadlines),
        MAIN: job.main.name,
        INIT: job.init.name if job.init else "",
        _DOLLAR: "$",
    }


def deadlines(meta: Mapping[str, str]) -> Deadlines | None:
    """The deadlines in a job's Meta; None if there are none."""
    return decode(meta.get(DEADLINES), Deadlines)


def _constraints(config: Config, pool: PoolSettings) -> list[Specification]:
    selected = [NomadConstraint(attribute=f"${{meta.{key}}}", value=value) for key, value in pool.node_selector.items()]
    return [
        {"LTarget": each.attribute, "Operand": each.operator, "RTarget": each.value}
        for each in (*(pool.constraints or config.nomad.constraints), *selected)
    ]


def _task(job: JobSpec, container: Container, config: Config) -> Specification:
    driver = config.nomad.task_driver
    settings = _docker(job, container) if driver == "docker" else _on_node(job, container, config)
    return {
        "Name": container.name,
        "Driver": driver,
        **settings,
        # A prestart task runs before the main one, which starts only if the prestart task exited with 0.
        "Lifecycle": {"Hook": "prestart", "Sidecar": False} if container is job.init else None,
        "Templates": [_secrets(job, container), *_credentials(config)],
        # Nomad has one number for request and limit. It only reserves CPU, so CPU is the request; it enforces memory,
        # so memory is the limit. The two tasks do not run at once, and Nomad reserves the larger of the two.
        "Resources": {
            "CPU": max(1, container.requests.cpu * config.nomad.core_mhz // 1000),
            "MemoryMB": max(10, container.limits.memory),
        },
        "RestartPolicy": {"Attempts": 0, "Mode": "fail"},
        "KillTimeout": _KILL_SECONDS * _NANOSECONDS,
        "LogConfig": {"MaxFiles": 2, "MaxFileSizeMB": 10},
    }


def _docker(job: JobSpec, container: Container) -> Specification:
    words = [*container.command, *container.args]
    altered = _altered_by_hcl(job, words)
    restore = _restore_arguments(words, altered)
    entry, rest = (words[:1], words[1:]) if restore is None else (["/bin/sh", "-c", f'{restore}exec "$@"', "sh"], words)
    return {
        "User": f"{_USER}:{_GROUP}",
        "Config": {
            "image": escape_argument(container.image),
            "entrypoint": [_hcl_argument(word) for word in entry],
            "args": [_hcl_argument(word) for word in rest],
            "cap_drop": ["all"],
            "security_opt": ["no-new-privileges"],
            "volumes": [f"{_source(job, volume)}:{volume.path}" for volume in job.volumes],
        },
        "Env": _environment(container, words, altered),
    }


def _on_node(job: JobSpec, container: Container, config: Config) -> Specification:
    image = image_on_node(config, container.image)
    shown = image.secret_arguments == "expand"  # noqa: S105  (no password)
    args = [each if shown or isinstance(each, str) else f"$({each.name})" for each in container.args]
    words = [*(image.command or container.command), *args]
    altered = _altered_by_hcl(job, words)
    script = (_restore_arguments(words, altered) or "") + _PREPARE
    return {
        **({"User": config.nomad.user} if config.nomad.user else {}),
        "Config": {"command": "/bin/sh", "args": ["-c", escape_argument(script), "sh", *map(_hcl_argument, words)]},
        "Env": {
            "ORCHESTRATOR_ROOT": _ROOT,
            "HOME": f"{_ROOT}/home/runner",
            "CODE_PATH": f"{_ROOT}/code",
            "TMPDIR": f"{_ROOT}/tmp",  # noqa: S108  (below the allocation)
            **{name: _host_path(job, value) for name, value in _environment(container, words, altered).items()},
        },
    }


def _host_path(job: JobSpec, value: str) -> str:
    """Translate a path of the contract to a path on the node, as the local driver does."""
    mounts = (*(volume.path for volume in job.volumes), "/toolbox", "/tmp")  # noqa: S108  (the script creates it)
    return f"{_ROOT}{value}" if any(value == mount or value.startswith(f"{mount}/") for mount in mounts) else value


def _source(job: JobSpec, volume: Volume) -> str:
    return _SHARED.get(volume.name, _CREDENTIALS).format(first=job.containers[0].name)


def _hcl_argument(word: Text) -> str:
    return f"${{{word.name}}}" if isinstance(word, SecretRef) else escape_argument(word)


def _altered_by_hcl(job: JobSpec, words: list[Text]) -> list[int]:
    """The indexes of the words that HCL would alter: it normalizes strings to NFC (cty.StringVal), `Env` does not."""
    return [n for n, word in enumerate(words) if not unicodedata.is_normalized("NFC", _text(job, word))]


def _text(job: JobSpec, word: Text) -> str:
    if isinstance(word, str):
        return word
    secret = job.secrets[word.name]
    return secret.reveal() if isinstance(secret, Secret) else ""


def _restore_arguments(words: list[Text], altered: list[int]) -> str | None:
    """Shell text that restores the words that HCL would alter from the environment; None if there are none."""
    if not altered:
        return None
    references = (_name(words[n], n) if n in altered else f"{{{n + 1}}}" for n in range(len(words)))
    quoted = " ".join(f'"${name}"' for name in references)
    return f"set -- {quoted}; "


def _name(word: Text, n: int) -> str:
    return word.name if isinstance(word, SecretRef) else f"ORCHESTRATOR_WORD_{n}"


def _environment(container: Container, words: list[Text], altered: list[int]) -> dict[str, str]:
    """All variables that are not secret; the template adds the secrets."""
    plain = {name: value for name, value in container.env if isinstance(value, str)}
    spelled = {_name(word, n): word for n in altered if isinstance(word := words[n], str)}
    return {name: escape_env(value) for name, value in {**plain, **spelled}.items()}


def _secrets(job: JobSpec, container: Container) -> Specification:
    """The template with the container's secrets as its environment. `toJSON` writes any value on one line."""
    lines = [f"{name}={{{{ .{name}.Value | toJSON }}}}" for name in container.secret_names()]
    open_check = f"# {{{{ .{OPEN}.Value }}}}"
    text = "\n".join((f'{{{{ with nomadVar "{variable_path(job.name)}" }}}}', open_check, *lines, "{{ end }}", ""))
    return {**_template("secrets/environment", text), "Envvars": True}


def _credentials(config: Config) -> list[Specification]:
    if not config.nomad.credentials_variable:
        return []
    text = f'{{{{ with nomadVar "{config.nomad.credentials_variable}" }}}}{{{{ .credentials.Value }}}}{{{{ end }}}}'
    return [{**_template(f"{_CREDENTIALS}/credentials", text), "Perms": "0444"}]


def _template(path: str, text: str) -> Specification:
    return {
        "DestPath": path,
        "EmbeddedTmpl": text,
        "ChangeMode": "noop",
        "Once": True,  # changes of the Variable do not affect a running job; a cancel stops it
        "ErrMissingKey": True,
        "Perms": "0400",
    }
