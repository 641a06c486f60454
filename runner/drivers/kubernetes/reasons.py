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

DEADLINE = "DeadlineExceeded"
"""The reason of a Job that ran longer than its activeDeadlineSeconds."""

POD_FAILED = frozenset({"BackoffLimitExceeded", "PodFailurePolicy"})
"""Reasons of a Job that failed with its pod: the pod had ended or was deleted."""

EVICTED = "Evicted"
POD_DEADLINE = "DeadlineExceeded"
"""The reason of a pod that ran longer than its own activeDeadlineSeconds, which a policy may set."""

SECURITY_REASONS = frozenset({"SysctlForbidden", "AppArmor", "SupplementalGroupsPolicyNotSupported"})
"""Reasons of a pod whose security settings its kubelet refused."""

_REJECTIONS = frozenset(
    {
        *("UnexpectedAdmissionError", "UnexpectedPredicateFailureType", "TopologyAffinityError", "InvalidNodeInfo"),
        *("PodOSNotSupported", "PodOSSelectorNodeLabelDoesNotMatch", "InitContainerRestartPolicyForbidden"),
        *("Terminated", "Shutdown", "Preempting"),
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
    r"OOM-killed|memory limit (?:\S+ ){1,2}too low|unable to set memory limit|[Mm]inimum memory limit allowed"
)
"""In the message of runc, crun, CRI-O or Docker if the limit is too small even to start a program."""

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

_NAMES = re.compile(r'"[^"]*"|\S*/\S*|\S+:[^\s:]\S*|\bfor \S+|\bkey:? \S+|\bmanifest \S+ in\b')
"""Quoted texts, words with a slash or with a colon inside, what follows `for` or `key`: names of images, URLs, keys.
CRI-O writes the tag alone: `reading manifest 512 in r.example/coat: manifest unknown`."""

_NETWORK = (
    r"tim(?:ed?|ing)[- ]?out|deadline ?exceeded|too ?many ?requests|connection re(?:fused|set)|no such host"
    r"|server misbehaving|name resolution|no route to host|unreachable|host is down|unexpected EOF"
)
"""A server that cannot be reached, or does not answer, in the words of Go's standard library and of Linux."""

_MAY_PASS = re.compile(rf"(?<![\w.:-])(?:429|5\d\d)(?![\w.:])|{_NETWORK}|rate limit|QPS exceeded", re.IGNORECASE)
_DEFINITE = re.compile(
    r"(?<![\w.:-])40[134](?![\w.:])|\bstatus.{0,60}?(?<![\w.:-])4(?!08|25|29)\d\d(?![\w.:])|\bproxy authentication"
    r"|\bnot found\b|\bdenied\b|\bunauthorized\b|\bforbidden\b|\bmanifest unknown\b"
    r"|\bname unknown\b|does not exist|authorization failed|invalid reference|no match for platform"
    r"|no matching manifest|no image found in|did not resolve to an alias|unsupported (?:manifest )?media ?type"
    r"|no basic auth credentials|repository name must|\bname invalid\b|no longer supported|rejected by policy"
    r"|cannot be used on this platform|does not match the specified platform|mismatched image rootfs"
    r"|SignatureValidationFailed|Source image rejected|\bx509\b|\bcertificate\b|HTTP response to HTTPS client",
    re.IGNORECASE,
)
_NODE_MAY_RECOVER = re.compile(
    rf"{_NETWORK}|: EOF$|connection lost|context cancell?ed"
    r"|is reserved\b|not yet been read|not registered$|too many open files|resource temporarily unavailable"
    r"|no space left on device|resource busy|ttrpc: closed|transport is closing"
    r"|code = (?:Unavailable|Aborted|ResourceExhausted)|\b(?:status ?)?code:? (?:429|5\d\d)\b"
    # the API server: its storage, its load, and its authorizer, which sees a new pod a little later than the node
    r"|etcdserver|currently unable to handle|Internal error occurred|has been modified|no relationship found"
    # a volume that another node has yet, or whose driver is about to start
    r"|Multi-Attach error|already (?:in use|being used|attached)|with the given volume ID \S+ already exists"
    r"|being (?:deleted|detached)|VolumesInUse|list of registered CSI drivers|does not contain driver",
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
