"""Checks of a Kubernetes cluster: credentials, namespaces, rights, queues, priority classes and the trackers' Lease.

Rights are asked for by SelfSubjectAccessReview, which every account may create (the role system:basic-user). That a
namespace exists is shown by a create with dryRun=All. Queues and priority classes can be read only by an account with
more rights than the Orchestrator needs; for another one, the line says which command shows them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from runner.cli.connect.checks import ConnectCheck, Finding
from runner.cli.connect.trackers import leader
from runner.composition import Outside
from runner.config.types import Config
from runner.drivers.kubernetes.api import JSON, ApiServerClient, collection, raise_for_status
from runner.drivers.kubernetes.lease import LEASE, LeaseStore
from runner.drivers.kubernetes.manifest import namespace_of
from runner.errors import Rejected
from runner.runtime.clock import Deadline

_AUTHENTICATION, _AUTHORIZATION = "authentication.k8s.io/v1", "authorization.k8s.io/v1"
_KUEUE = "kueue.x-k8s.io"
_PROBE = "orchestrator-check"
_NO_DRY_RUN = "does not support dry run"
"""What a webhook with side effects answers to a dry run (admission/plugin/webhook of the API server)."""


class Right(NamedTuple):
    """A verb on a resource. `name` is that of the only object that it is needed for."""

    verb: str
    resource: str
    group: str = ""
    name: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}" + (f" {self.name}" if self.name else "")


RIGHTS = (
    *(Right(verb, "jobs", "batch") for verb in ("create", "get", "list", "patch", "watch")),
    Right("create", "secrets"),
    Right("list", "pods"),
    Right("watch", "pods"),
    Right("get", "pods/log"),
    Right("list", "events"),
)
"""With those below: the rights of deploy/kubernetes/rbac.yaml."""

LEADER_RIGHTS = (
    Right("create", "leases", "coordination.k8s.io"),
    Right("get", "leases", "coordination.k8s.io", LEASE),
    Right("update", "leases", "coordination.k8s.io", LEASE),
)
"""Only where the trackers agree on a leader."""


def checks(config: Config, outside: Outside, environ: Mapping[str, str]) -> Iterator[ConnectCheck]:
    """All checks of the cluster; none if no pool leads to Kubernetes."""
    pools = [pool for pool in config.pool_names() if config.driver_of(pool) == "kubernetes"]
    if not pools:
        return
    api = ApiServerClient(config.cluster, http=outside.http(), clock=outside.clock, environ=environ)
    namespaces = tuple(dict.fromkeys(namespace_of(config, pool) for pool in pools))
    main = config.cluster.namespace if config.cluster.namespace in namespaces else namespaces[0]
    yield ConnectCheck("Kubernetes", (partial(_account, api),))
    for name in namespaces:
        yield ConnectCheck(f"Kubernetes namespace {name}", (partial(_namespace, api, name),))
        rights = RIGHTS + (LEADER_RIGHTS if name == main else ())
        yield ConnectCheck(f"rights in namespace {name}", tuple(partial(_right, api, name, each) for each in rights))
    used = [(namespace_of(config, pool), config.pools[pool]) for pool in pools if pool in config.pools]
    for name, queue in dict.fromkeys((name, each.queue_name) for name, each in used if each.queue_name):
        yield ConnectCheck(f"LocalQueue {name}/{queue}", (partial(_queue, api, name, queue),))
    for priority in dict.fromkeys(each.priority_class_name for _, each in used if each.priority_class_name):
        yield ConnectCheck(f"PriorityClass {priority}", (partial(_priority_class, api, priority),))
    yield ConnectCheck("tracker for Kubernetes", (partial(leader, LeaseStore(api, main)),))


class _User(msgspec.Struct, frozen=True):
    username: str = ""


class _ReviewStatus(msgspec.Struct, frozen=True, rename="camel"):
    allowed: bool = False
    user_info: _User = _User()


class _Review(msgspec.Struct, frozen=True):
    """The fields of a SelfSubjectReview and a SelfSubjectAccessReview that are used here."""

    status: _ReviewStatus


class _Condition(msgspec.Struct, frozen=True):
    type: str
    status: str
    message: str = ""


class _QueueStatus(msgspec.Struct, frozen=True):
    conditions: list[_Condition] = []


class _LocalQueue(msgspec.Struct, frozen=True):
    status: _QueueStatus = _QueueStatus()


class _Preferred(msgspec.Struct, frozen=True, rename="camel"):
    group_version: str


class _ApiGroup(msgspec.Struct, frozen=True, rename="camel"):
    preferred_version: _Preferred


def _account(api: ApiServerClient, deadline: Deadline) -> Finding:
    body = {"apiVersion": _AUTHENTICATION, "kind": "SelfSubjectReview"}
    path = f"/apis/{_AUTHENTICATION}/selfsubjectreviews"
    response = api.call("POST", path, deadline, body=body, accept=JSON)
    if response.status == 404:  # before Kubernetes 1.28
        raise_for_status(api.call("GET", "/version", deadline), "read the version")
        return Finding("the API server answers")
    raise_for_status(response, "ask who we are")
    return Finding(f"we are {msgspec.json.decode(response.body, type=_Review).status.user_info.username}")


def _namespace(api: ApiServerClient, name: str, deadline: Deadline) -> Finding:
    """Whether it exists and takes objects. NamespaceLifecycle answers a create, also one without effect."""
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": _PROBE, "namespace": name}}
    response = api.call("POST", collection("api/v1", name, "secrets"), deadline, body=body, query={"dryRun": "All"})
    if response.status == 404:
        advice = f"create it (kubectl create namespace {name}), or correct the configuration"
        return Finding(f"does not exist: {response.message}", "not ok", advice)
    if response.status != 409 and _NO_DRY_RUN not in response.message:
        raise_for_status(response, f"create secrets in namespace {name}")
    return Finding("exists")


def _right(api: ApiServerClient, namespace: str, right: Right, deadline: Deadline) -> Finding:
    resource, _, subresource = right.resource.partition("/")
    asked = {"namespace": namespace, "verb": right.verb, "group": right.group, "resource": resource}
    optional = {name: value for name, value in (("subresource", subresource), ("name", right.name)) if value}
    body = {
        "apiVersion": _AUTHORIZATION,
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {**asked, **optional}},
    }
    path = f"/apis/{_AUTHORIZATION}/selfsubjectaccessreviews"
    response = api.call("POST", path, deadline, body=body, accept=JSON)
    raise_for_status(response, "ask for our rights")
    if response.status >= 400:
        raise Rejected(f"the API server has no access reviews: {response.message}; check its address")
    if msgspec.json.decode(response.body, type=_Review).status.allowed:
        return Finding()
    advice = f"grant it: kubectl apply --namespace {namespace} -f deploy/kubernetes/rbac.yaml"
    return Finding(f"may not {right}", "not ok", advice)


def _queue(api: ApiServerClient, namespace: str, name: str, deadline: Deadline) -> Finding:
    see = f"kubectl --namespace {namespace} get localqueue {name}"
    group = api.call("GET", f"/apis/{_KUEUE}", deadline)
    if group.status == 404:
        return Finding("this cluster has no Kueue", "not ok", "install it, or remove queueName from the pool")
    raise_for_status(group, "read the API group of Kueue")
    version = msgspec.json.decode(group.body, type=_ApiGroup).preferred_version.group_version
    response = api.call("GET", collection(f"apis/{version}", namespace, "localqueues", name), deadline)
    if response.status == 404:
        return Finding("does not exist", "not ok", "create it, or correct queueName of the pool")
    if response.status == 403:
        return Finding("our account may not read it, and need not", "note", f"look yourself: {see}")
    raise_for_status(response, f"get localqueues in namespace {namespace}")
    for each in msgspec.json.decode(response.body, type=_LocalQueue).status.conditions:
        if each.type == "Active" and each.status == "False":
            return Finding(f"admits no job: {each.message}", "not ok", f"see {see} --output yaml")
    return Finding("exists")


def _priority_class(api: ApiServerClient, name: str, deadline: Deadline) -> Finding:
    response = api.call("GET", f"/apis/scheduling.k8s.io/v1/priorityclasses/{quote(name, safe='')}", deadline)
    if response.status == 404:
        return Finding("does not exist", "not ok", "create it, or correct priorityClassName of the pool")
    if response.status == 403:
        see = f"look yourself: kubectl get priorityclass {name}"
        return Finding("our account may not read it, and need not", "note", see)
    raise_for_status(response, "get priorityclasses")
    return Finding("exists")
