"""What the reasons and messages of the kubelet mean. Pure.

Errors are definite or may pass. The kubelet repeats the cause in the message of the pause between two tries: `Back-off
pulling image "x": ErrImagePull: ...`. The cause is the text of the container runtime, whose words differ between
runtimes and versions. Image names, addresses and quoted texts are removed first: their words are no causes.
"""

from __future__ import annotations

import re
from collections.abc import Collection

PLACEHOLDERS = frozenset({"ContainerStatusUnknown", "Unknown"})
"""Reasons of an end that nobody saw: the container was gone, or the node had rebooted."""

START_ERRORS = frozenset({"StartError", "ContainerCannotRun"})
"""Reasons of a container whose program never started (containerd, Docker)."""

CONFIGURATION_REASONS = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "RunInitContainerError",
        "VerifyNonRootError",
        "PreCreateHookError",
        "PreStartHookError",
        "PostStartHookError",
    }
)
"""Reasons of a waiting container (kubelet, packages kuberuntime and container)."""

EVICTED = "Evicted"
POD_DEADLINE = "DeadlineExceeded"
"""The reason of a pod that ran longer than its own activeDeadlineSeconds, which a policy may set."""

SECURITY_REASONS = frozenset({"SysctlForbidden", "AppArmor"})
"""Reasons of a pod whose security settings its kubelet refused."""

_REJECTIONS = frozenset(
    {
        *("UnexpectedAdmissionError", "UnexpectedPredicateFailureType", "TopologyAffinityError", "InvalidNodeInfo"),
        *("PodOSNotSupported", "PodOSSelectorNodeLabelDoesNotMatch", "SupplementalGroupsPolicyNotSupported"),
        *("InitContainerRestartPolicyForbidden", "Terminated", "Shutdown", "Preempting"),
    }
)
_REJECTION_PREFIXES = ("OutOf", "Node")
"""Reasons of a pod that its kubelet rejected or ended: OutOfmemory, OutOfpods, NodeAffinity, NodeShutdown, NodeLost."""
_REJECTED = "Pod was rejected"
"""The beginning of the message of any rejection, whatever its reason (kubelet, since 1.28)."""

_OWN_DISK_LIMIT = ("Pod ephemeral local storage usage exceeds the total limit", "Usage of EmptyDir volume ")
_CONTAINER_DISK_LIMIT = re.compile(r"Container (\S+) exceeded its local ephemeral storage limit ")
"""Beginnings of the kubelet's message (kubelet, eviction/helpers.go). If the node is full, it begins otherwise."""

_NO_MEMORY = re.compile(
    r"OOM-killed|memory limit \S+ too low|unable to set memory limit|[Mm]inimum memory limit allowed"
)
"""In the message of runc, CRI-O or Docker if the limit is too small even to start a program."""

IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
"""Reasons of a waiting container (kubelet, package images)."""

_DEFINITE_REASONS = frozenset({"InvalidImageName", "ErrImageNeverPull", "SignatureValidationFailed"})

_NAMES = re.compile(r'"[^"]*"|\S*/\S*|\S+:[^\s:]\S*|\bfor \S+')
"""Quoted texts, words with a slash or with a colon inside, and what follows `for`: image names and URLs."""

_MAY_PASS = re.compile(
    r"(?<![\w.:-])(?:429|5\d\d)(?![\w.:])"
    r"|time(?:d )?-?out|deadline exceeded|too ?many ?requests|rate limit|connection re(?:fused|set)|no such host"
    r"|server misbehaving|name resolution|no route to host|unreachable|unexpected EOF|QPS exceeded",
    re.IGNORECASE,
)
_DEFINITE = re.compile(
    r"(?<![\w.:-])40[134](?![\w.:])|\bnot found\b|\bdenied\b|\bunauthorized\b|\bforbidden\b|\bmanifest unknown\b"
    r"|\bname unknown\b|does not exist|authorization failed|invalid reference|no match for platform"
    r"|no matching manifest|no image found in|did not resolve to an alias|unsupported (?:manifest )?media ?type"
    r"|no basic auth credentials|repository name must|\bname invalid\b",
    re.IGNORECASE,
)
_NODE_MAY_RECOVER = re.compile(
    r"deadline ?exceeded|timed out|tim(?:e|ing)[- ]?out|is reserved\b|is already in use|not yet been read"
    r"|not registered$|connection refused|unexpected EOF|too many open files|resource temporarily unavailable"
    r"|no space left on device|ttrpc: closed|transport is closing|code = (?:Unavailable|Aborted|ResourceExhausted)"
    r"|Multi-Attach error|list of registered CSI drivers",
    re.IGNORECASE,
)


def is_rejected(reason: str, message: str) -> bool:
    """Whether the kubelet rejected the pod, or ended it for the node's own reasons."""
    listed = reason in _REJECTIONS or reason.startswith(_REJECTION_PREFIXES)
    return reason not in SECURITY_REASONS and (listed or message.startswith(_REJECTED))


def is_own_disk_limit(message: str, own: Collection[str]) -> bool:
    """Whether the message of an eviction says that the pod, a volume or an own container exceeded its own limit."""
    container = _CONTAINER_DISK_LIMIT.match(message)
    return message.startswith(_OWN_DISK_LIMIT) or (container is not None and container[1] in own)


def is_out_of_memory(reason: str, message: str) -> bool:
    """Whether a container ended, or could not be started, for lack of memory."""
    starts = reason in START_ERRORS | CONFIGURATION_REASONS
    return reason == "OOMKilled" or (starts and bool(_NO_MEMORY.search(message)))


def node_may_recover(message: str) -> bool:
    """Whether the error of a container that cannot be created may pass with nothing changed."""
    return bool(_NODE_MAY_RECOVER.search(_NAMES.sub(" ", message)))


def may_pass(reason: str, message: str) -> bool:
    """Whether a later pull may succeed with nothing changed. True if the message does not say."""
    if reason in _DEFINITE_REASONS:
        return False
    cause = _NAMES.sub(" ", message)
    return bool(_MAY_PASS.search(cause)) or not _DEFINITE.search(cause)
