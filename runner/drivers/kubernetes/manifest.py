"""A job as Kubernetes objects: a Job and the Secret that it owns. Pure; the printer prints these objects.

Fields and their meaning: Kubernetes API reference, batch/v1 Job and core/v1 Pod and Secret. Pods comply with the
`restricted` Pod Security Standard; the root filesystem is writable, since marvin is copied into the image's /toolbox.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from runner.config.drivers import PoolSettings
from runner.config.types import Config
from runner.jobs import Cancellation, Container, JobSpec, Report, Resources, SecretRef, Text, Volume
from runner.request_types import roles

FINGERPRINT = "orchestrator/fingerprint"
REPORT = "orchestrator/report"
POOL = "orchestrator/pool"
REQUEST_ID = "orchestrator/request-id"
TRACEPARENT = "orchestrator/traceparent"
CANCELLED = "orchestrator/cancelled"
REPORTED = "orchestrator/reported"
"""A label, by which lists and watches leave the job out, and an annotation with the reason that atlas accepted."""
SET_ASIDE = "orchestrator/set-aside"
"""The label of a job whose result atlas refuses for good."""
ANSWER = "orchestrator/answer"
"""What atlas answered when it refused the result of a job that was set aside."""
PUBLISHED = "orchestrator/published"
"""Where a cancel puts the reason that atlas had accepted: its own confirmation is still to be published."""
ENDED = "orchestrator/ended"
"""The Outcome, as JSON, for which the job was ended, or as which a cancel or a resend found it ended."""
RESENT = "orchestrator/resent"
"""How often its result was asked for again."""
SECRET = "orchestrator/secret"  # noqa: S105  (the annotation with the Secret's name)

COMPLETE = "orchestrator/complete"
"""The names of Secrets that existed when this Job was created, of other jobs of the same request (see RequestJobs)."""

CONTAINERS = "orchestrator/containers"
"""The names of the job's own containers, in the order in which they run. A policy may add others to the Job."""

CLAIM = "orchestrator/claim"
"""What became of its claim to the name, where pools lead to several places (see runner.drivers.claims)."""

QUEUE = "kueue.x-k8s.io/queue-name"

_USER, _GROUP, _FILES_GROUP = 1000, 3000, 2000

Manifest = dict[str, Any]


def job_manifest(
    job: JobSpec, config: Config, *, nonce: str, claim: str = "", complete: Sequence[str] = ()
) -> Manifest:
    """The Job. It refers to its secrets by name only. `nonce` distinguishes this Job from others of the same name."""
    pool = config.pools.get(job.pool, PoolSettings())
    secret = f"{job.name}-{nonce}"
    annotations = {
        FINGERPRINT: job.fingerprint,
        POOL: job.pool,
        REPORT: encode_report(job.report),
        SECRET: secret,
        CONTAINERS: " ".join(each.name for each in job.containers),
        **_set({CLAIM: claim, REQUEST_ID: job.report.request_id, COMPLETE: " ".join(complete)}),
        **({TRACEPARENT: job.report.traceparent} if job.report.traceparent else {}),
    }
    queue = {QUEUE: pool.queue_name} if pool.queue_name else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job.name,
            "namespace": namespace_of(config, job.pool),
            "labels": {**job.labels, **queue},
            "annotations": annotations,
        },
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 0,
            "activeDeadlineSeconds": job.deadlines.total,
            **({"suspend": True} if pool.queue_name else {}),  # Kueue resumes it
            # The analyzer is not at fault if a node is lost: the pod is replaced and does not count as a failure.
            "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]},
            "template": {
                "metadata": {"labels": dict(job.pod_labels)},
                "spec": _pod(job, config, pool, secret),
            },
        },
    }


def secret_manifest(job: JobSpec, config: Config, values: Mapping[str, str], *, name: str, owner_uid: str) -> Manifest:
    """The Secret. Kubernetes deletes it together with its Job."""
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": job.name,
        "uid": owner_uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace_of(config, job.pool),
            "labels": dict(job.labels),
            "ownerReferences": [owner],
        },
        "immutable": True,
        "type": "Opaque",
        "stringData": dict(values),
    }


def tombstone_manifest(cancellation: Cancellation, config: Config, pool: str) -> Manifest:
    """A Job under the cancelled name that creates no pod and ends by itself. A late submit finds that it exists."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": cancellation.name,
            "namespace": namespace_of(config, pool),
            "labels": dict(cancellation.labels),
            "annotations": {CANCELLED: encode_report(cancellation.report), POOL: pool},
        },
        "spec": {
            "parallelism": 0,
            "activeDeadlineSeconds": 0,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "securityContext": _pod_security(),
                    "containers": [
                        {"name": "cancelled", "image": "cancelled", "securityContext": _container_security()}
                    ],
                }
            },
        },
    }


def namespace_of(config: Config, pool: str) -> str:
    """The namespace of a pool's jobs."""
    settings = config.pools.get(pool)
    return (settings.namespace if settings else "") or config.cluster.namespace


def encode_report(report: Report) -> str:
    """A report as the text of an annotation."""
    return msgspec.json.encode(report).decode()


def literal(value: str) -> str:
    """Escape a string: Kubernetes expands `$(X)` in command, args and env, and replaces `$$` with `$`."""
    return value.replace("$", "$$")


def _pod(job: JobSpec, config: Config, pool: PoolSettings, secret: str) -> Manifest:
    pull_secret = config.cluster.image_registry.pull_secret_name
    policy = config.cluster.image_registry.pull_policy
    selector = pool.node_selector or config.cluster.node_selector
    optional: Manifest = {
        "imagePullSecrets": [{"name": pull_secret}] if pull_secret else [],
        "nodeSelector": dict(selector),
        "tolerations": [_set(msgspec.to_builtins(toleration)) for toleration in pool.tolerations],
        "priorityClassName": pool.priority_class_name,
        "initContainers": [_container(job, job.init, secret, policy)] if job.init else [],
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": _pod_security(),
        **_set(optional),
        "containers": [_container(job, job.main, secret, policy)],
        "volumes": [_volume(volume) for volume in job.volumes],
    }


def _set(members: Manifest) -> Manifest:
    """The members that are not empty."""
    return {name: value for name, value in members.items() if value not in ("", [], {}, None)}


def _pod_security() -> Manifest:
    return {
        "runAsNonRoot": True,
        "runAsUser": _USER,
        "runAsGroup": _GROUP,
        "fsGroup": _FILES_GROUP,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _container_security() -> Manifest:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _container(job: JobSpec, container: Container, secret: str, pull_policy: str) -> Manifest:
    return {
        "name": container.name,
        "image": container.image,
        **({"imagePullPolicy": pull_policy} if pull_policy else {}),
        "command": [literal(part) for part in container.command],
        "args": [_argument(argument) for argument in container.args],
        "env": _environment(secret, container),
        "resources": {"requests": _resources(container.requests), "limits": _resources(container.limits)},
        "securityContext": _container_security(),
        "volumeMounts": [{"name": volume.name, "mountPath": volume.path} for volume in job.volumes],
    }


def _argument(argument: Text) -> str:
    return f"$({argument.name})" if isinstance(argument, SecretRef) else literal(argument)


def _environment(secret: str, container: Container) -> list[Manifest]:
    """The variables that only the container's arguments refer to, then the container's own variables."""
    named = {name for name, _ in container.env}
    only_referred = [name for name in container.secret_names() if name not in named]
    referred = [_variable(secret, name, SecretRef(name=name)) for name in only_referred]
    return referred + [_variable(secret, name, value) for name, value in container.env]


def _variable(secret: str, name: str, value: Text) -> Manifest:
    if isinstance(value, SecretRef):
        return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": value.name}}}
    return {"name": name, "value": literal(value)}


def _resources(resources: Resources) -> Manifest:
    return {"cpu": f"{resources.cpu}m", "memory": f"{resources.memory}Mi"}


def _volume(volume: Volume) -> Manifest:
    if volume.existing_secret:
        return {"name": volume.name, "secret": {"secretName": volume.existing_secret}}
    return {"name": volume.name, "emptyDir": {}}


def pod_selector() -> str:
    """Selects the pods of every request type, and no others."""
    return f"role in ({','.join(roles())})"
