"""A job as Kubernetes objects: a Job, and the Secret it owns. Pure; the printer shows what the driver would create.

Fields and their meaning: Kubernetes API reference, batch/v1 Job and core/v1 Pod and Secret. Pods fit the `restricted`
Pod Security Standard; the root filesystem stays writable, since marvin is copied into the image's /toolbox.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from runner.config.drivers import PoolSettings
from runner.config.types import Config
from runner.jobs import Cancellation, Container, JobSpec, Report, Resources, SecretRef, Text, Volume

FINGERPRINT = "orchestrator/fingerprint"
REPORT = "orchestrator/report"
POOL = "orchestrator/pool"
CANCELLED = "orchestrator/cancelled"
REPORTED = "orchestrator/reported"
SECRET = "orchestrator/secret"  # noqa: S105  (the annotation with the Secret's name)

_USER, _GROUP, _FILES_GROUP = 1000, 3000, 2000

Manifest = dict[str, Any]


def job_manifest(job: JobSpec, config: Config, *, nonce: str) -> Manifest:
    """The Job. It names its secrets by reference only. `nonce` tells this creation of the Job from any other."""
    pool = config.pools.get(job.pool, PoolSettings())
    secret = f"{job.name}-{nonce}"
    annotations = {
        FINGERPRINT: job.fingerprint,
        POOL: job.pool,
        REPORT: encode_report(job.report),
        SECRET: secret,
    }
    queue = {"kueue.x-k8s.io/queue-name": pool.queue_name} if pool.queue_name else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job.name,
            "namespace": namespace(config, job.pool),
            "labels": {**job.labels, **queue},
            "annotations": annotations,
        },
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 0,
            "activeDeadlineSeconds": job.deadlines.total,
            **({"suspend": True} if pool.queue_name else {}),  # Kueue admits it
            # A lost node is no fault of the analyzer's: such a pod is replaced and not counted.
            "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]},
            "template": {
                "metadata": {"labels": dict(job.pod_labels)},
                "spec": _pod(job, config, pool, secret),
            },
        },
    }


def secret_manifest(job: JobSpec, config: Config, values: Mapping[str, str], *, name: str, owner_uid: str) -> Manifest:
    """The Secret, which goes when its Job goes."""
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
            "namespace": namespace(config, job.pool),
            "labels": dict(job.labels),
            "ownerReferences": [owner],
        },
        "immutable": True,
        "type": "Opaque",
        "stringData": dict(values),
    }


def tombstone_manifest(cancellation: Cancellation, config: Config, pool: str) -> Manifest:
    """A Job under the cancelled name that never makes a pod and ends by itself: a late submit collides with it."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": cancellation.name,
            "namespace": namespace(config, pool),
            "labels": dict(cancellation.labels),
            "annotations": {CANCELLED: encode_report(cancellation.report), POOL: pool},
        },
        "spec": {
            "parallelism": 0,
            "activeDeadlineSeconds": 1,
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


def namespace(config: Config, pool: str) -> str:
    """The namespace that a pool's jobs live in."""
    settings = config.pools.get(pool)
    return (settings.namespace if settings else "") or config.cluster.namespace


def encode_report(report: Report) -> str:
    """What an annotation holds of a report."""
    return msgspec.json.encode(report).decode()


def literal(value: str) -> str:
    """A string that arrives as written: Kubernetes expands `$(X)` in command, args and env, and takes `$$` for `$`."""
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
    """Only the members that have a value."""
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
    """The container's own variables, and before them those that only its arguments refer to."""
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
