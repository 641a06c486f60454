"""Checks of a Nomad cluster: the token, namespaces, capabilities and the trackers' Variable.

Each capability is tried by a request without effect (`Namespace.trials`). Only the reading of logs needs a job, so it
is looked up in the token's own policies, which every token may read.

Where we run as a Nomad job, the token is the job's workload identity. `acl/token/self` does not know it (404).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial

import msgspec

from runner.cli.connect.checks import ConnectCheck, Finding
from runner.cli.connect.trackers import leader
from runner.composition import Outside
from runner.config.types import Config
from runner.drivers.nomad.api import NomadClient, quoted, raise_for_status
from runner.drivers.nomad.leader_variable import PATH, VariableLeaderStore
from runner.drivers.nomad.namespace import Namespace
from runner.drivers.nomad.specification import namespace_of
from runner.errors import Rejected
from runner.runtime.clock import Deadline

_NO_ACL = "ACL support disabled"
_ANONYMOUS = "Anonymous Token"
"""The name of the token that a request without a token gets (nomad/structs/acl.go)."""
_WORKLOAD_IDENTITY = "workload identity"
_READS_LOGS = frozenset({"read-logs", "read", "write"})
"""The capability, and the policies that include it (acl/policy.go of Nomad)."""


def checks(config: Config, outside: Outside) -> Iterator[ConnectCheck]:
    """All checks of the cluster; none if no pool leads to Nomad."""
    pools = [pool for pool in config.pool_names() if config.driver_of(pool) == "nomad"]
    if not pools:
        return
    agent = NomadClient(config.nomad, http=outside.http(), clock=outside.clock)
    namespaces = [Namespace(agent, name) for name in dict.fromkeys(namespace_of(config, pool) for pool in pools)]
    yield ConnectCheck("Nomad", (partial(_token, agent),))
    for namespace in namespaces:
        yield ConnectCheck(f"Nomad namespace {namespace.name}", (partial(_exists, agent, namespace.name),))
        trials = [*namespace.trials(), *(namespace.leader_trials(PATH) if namespace is namespaces[0] else ())]
        tried = (partial(_tried, *trial) for trial in trials)
        logs = partial(_reads_logs, agent, namespace.name)
        yield ConnectCheck(f"capabilities in namespace {namespace.name}", (*tried, logs))
    yield ConnectCheck("tracker for Nomad", (partial(leader, VariableLeaderStore(namespaces[0])),))


class _Role(msgspec.Struct, frozen=True, rename={"id": "ID"}):
    id: str


class _Token(msgspec.Struct, frozen=True, rename="pascal"):
    name: str = ""
    type: str = ""
    policies: list[str] | None = None
    roles: list[_Role] | None = None
    expiration_time: str | None = None


class _Named(msgspec.Struct, frozen=True, rename="pascal"):
    name: str


class _RoleObject(msgspec.Struct, frozen=True, rename="pascal"):
    policies: list[_Named] = []


class _NamespaceRules(msgspec.Struct, frozen=True, rename="pascal"):
    name: str
    policy: str = ""
    capabilities: list[str] | None = None


class _Rules(msgspec.Struct, frozen=True, rename="pascal"):
    namespaces: list[_NamespaceRules] | None = None


class _Policy(msgspec.Struct, frozen=True, rename={"rules": "RulesJSON"}):
    rules: _Rules | None = None


def _own_token(agent: NomadClient, deadline: Deadline) -> _Token | None:
    """The token; None if the cluster has no access control."""
    response = agent.call("GET", "acl/token/self", deadline)
    if _NO_ACL in response.message:
        return None
    if response.status == 404:
        return _workload_identity(agent, deadline)
    raise_for_status(response, "a valid token")
    return msgspec.json.decode(response.body, type=_Token)


def _workload_identity(agent: NomadClient, deadline: Deadline) -> _Token:
    """What Nomad gives to an allocation. The list of policies shows those that are attached to its job."""
    response = agent.call("GET", "acl/policies", deadline)
    raise_for_status(response, "a valid token")
    policies = msgspec.json.decode(response.body, type=list[_Named])
    return _Token(name=_WORKLOAD_IDENTITY, type="client", policies=[each.name for each in policies])


def _token(agent: NomadClient, deadline: Deadline) -> Finding:
    token = _own_token(agent, deadline)
    if token is None:
        return Finding("this cluster has no access control: everybody may do everything")
    if token.type == "management":
        advice = "use one with deploy/nomad/policy.hcl"
        return Finding(f"the token {token.name!r} is a management token, which may do everything", "note", advice)
    if token.name == _ANONYMOUS:
        return Finding("we have no token, only the anonymous one", "note", "set nomad.tokenFile")
    until = f", valid until {token.expiration_time}" if token.expiration_time else ""
    policies = ", ".join(token.policies or ()) or "no policy of its own"
    what = "the job's workload identity" if token.name == _WORKLOAD_IDENTITY else repr(token.name)
    return Finding(f"the token is {what}, with {policies}{until}")


def _exists(agent: NomadClient, name: str, deadline: Deadline) -> Finding:
    response = agent.call("GET", quoted("namespace", name), deadline)
    if response.status == 404 or response.denied:
        advice = f"create it (nomad namespace apply {name}) and the token's policy for it, or correct the configuration"
        return Finding("does not exist, or the token has no right in it", "not ok", advice)
    raise_for_status(response, f"any capability in namespace {name}")
    return Finding("exists")


def _tried(capability: str, trial: Callable[[Deadline], object], deadline: Deadline) -> Finding:
    try:
        trial(deadline)
    except Rejected as error:
        if f"our Nomad token lacks {capability}" not in error.detail:
            raise
        return _lacks(capability)
    return Finding()


def _lacks(capability: str) -> Finding:
    return Finding(f"lacks {capability}", "not ok", "grant it to our token as in deploy/nomad/policy.hcl")


def _reads_logs(agent: NomadClient, namespace: str, deadline: Deadline) -> Finding:
    token = _own_token(agent, deadline)
    if token is None or token.type == "management":
        return Finding()
    names = [*(token.policies or ()), *_of_roles(agent, token.roles or (), deadline)]
    rules = [each for name in names for each in _namespaces_of(agent, name, deadline)]
    granted = _applying(rules, namespace)
    if _READS_LOGS.isdisjoint({word for each in granted for word in (each.policy, *(each.capabilities or ()))}):
        return _lacks("read-logs")
    return Finding()


def _of_roles(agent: NomadClient, roles: Sequence[_Role], deadline: Deadline) -> Iterator[str]:
    for role in roles:
        response = agent.call("GET", quoted("acl", "role", role.id), deadline)
        raise_for_status(response, f"the role {role.id}")
        yield from (each.name for each in msgspec.json.decode(response.body, type=_RoleObject).policies)


def _namespaces_of(agent: NomadClient, policy: str, deadline: Deadline) -> Sequence[_NamespaceRules]:
    response = agent.call("GET", quoted("acl", "policy", policy), deadline)
    if response.status == 404 or response.denied:  # a policy that was deleted grants nothing
        return ()
    raise_for_status(response, f"the policy {policy}")
    rules = msgspec.json.decode(response.body, type=_Policy).rules
    return (rules.namespaces if rules else None) or ()


def _applying(rules: Sequence[_NamespaceRules], namespace: str) -> Sequence[_NamespaceRules]:
    """Those for this namespace, else those whose pattern leaves the fewest characters open (acl/acl.go of Nomad)."""
    matching = [each for each in rules if fnmatchcase(namespace, each.name)]
    exact = [each for each in matching if each.name == namespace]
    most = max((len(each.name.replace("*", "")) for each in matching), default=0)
    return exact or [each for each in matching if len(each.name.replace("*", "")) == most]
