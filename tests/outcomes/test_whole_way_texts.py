"""From the texts of registries, runtimes and volume drivers to the limit that ends the wait. As test_whole_way.py.

The texts have the form of those of containerd, CRI-O, Docker, kubelets and CSI drivers.
"""

from __future__ import annotations

import pytest

from runner.tracker.ledger.judge import Waits, judge
from tests.outcomes.test_whole_way import LIMITS, ended, explained, happened, read, starting
from tests.unit.drivers.kubernetes.objects import job_document, waits

DEFINITE, PASSES = LIMITS.image_seconds, LIMITS.registry_seconds
RESOLVE = 'failed to pull and unpack image "r.example/a/coat:1": failed to resolve reference "r.example/a/coat:1": '
REQUEST = RESOLVE + 'failed to do request: Head "https://r.example/v2/a/coat/manifests/1": '
STATUS = RESOLVE + "unexpected status from HEAD request to https://r.example/v2/a/coat/manifests/1: "
TOKEN = RESOLVE + "failed to authorize: failed to fetch oauth token: unexpected status from POST request to https://r: "
CRIO = "initializing source docker://r.example/coat:1: "
UNTRUSTED = "tls: failed to verify certificate: x509: certificate "

IMAGES = [
    (DEFINITE, REQUEST + UNTRUSTED + "signed by unknown authority"),
    (DEFINITE, REQUEST + UNTRUSTED + "is valid for *.traefik.default, not r.example"),
    (DEFINITE, REQUEST + UNTRUSTED + "has expired or is not yet valid"),
    (DEFINITE, REQUEST + "http: server gave HTTP response to HTTPS client"),
    (PASSES, REQUEST + "net/http: TLS handshake timeout"),
    (PASSES, REQUEST + "remote error: tls: handshake failure"),
    (PASSES, REQUEST + "proxyconnect tcp: dial tcp: lookup proxy.example on 10.0.0.2:53: no such host"),
    (DEFINITE, REQUEST + "Proxy Authentication Required"),
    (PASSES, REQUEST + "Bad Gateway"),
    (DEFINITE, REQUEST + "Forbidden"),
    *((DEFINITE, f"{STATUS}{code} Any Text") for code in (400, 401, 403, 404, 405, 407, 410, 412, 451)),
    *((PASSES, f"{STATUS}{code} Any Text") for code in (408, 425, 429, 500, 502, 503, 504, 520)),
    (DEFINITE, TOKEN + "401 Unauthorized"),
    (PASSES, TOKEN + "503 Service Unavailable"),
    (DEFINITE, CRIO + "Requesting bearer token: invalid status code from registry 403 (Forbidden)"),
    (DEFINITE, CRIO + "reading manifest 1 in r.example/coat: StatusCode: 410, gone"),
    (DEFINITE, "Source image rejected: Running image docker://r.example/coat:1 is rejected by policy."),
    (DEFINITE, 'media type "application/vnd.docker.distribution.manifest.v1+prettyjws" is no longer supported since x'),
    (
        DEFINITE,
        "failed to copy: httpReadSeeker: failed open: content at https://r.example/blobs/x not found",
    ),
    (DEFINITE, 'choosing image instance: no image found in image index for architecture "arm64", OS "linux"'),
    (DEFINITE, 'image operating system "windows" cannot be used on this platform: operating system is not supported'),
    (DEFINITE, "image with reference r.example/coat:1 was found but does not match the specified platform: wanted x"),
    (DEFINITE, 'failed to unpack image on snapshotter "overlayfs": mismatched image rootfs and manifest layers'),
    (PASSES, "failed commit on ref: unexpected commit size 412, expected 4040: failed precondition"),
    (PASSES, "failed to extract layer sha256:404: write /var/lib/containerd/x: no space left on device: unknown"),
    (PASSES, REQUEST + "read tcp 10.0.0.5:51234->10.0.0.9:443: read: connection reset by peer"),
]

FORBIDDEN = (
    'secrets "s" is forbidden: User "system:node:n1" cannot get resource "secrets" in API group "" in the namespace'
    " \"jobs\": no relationship found between node 'n1' and this object"
)
REQUESTED = 'Get "https://10.96.0.1:443/api/v1/namespaces/jobs/secrets/s": '
ANYWHERE = [
    (PASSES, FORBIDDEN),
    (PASSES, "etcdserver: leader changed"),
    (PASSES, "etcdserver: request timed out"),
    (PASSES, "the server is currently unable to handle the request (get secrets s)"),
    (PASSES, "the server has received too many requests and has asked us to try again later (get secrets s)"),
    (PASSES, REQUESTED + "read tcp 10.0.0.1:1->10.96.0.1:443: read: connection reset by peer"),
    (PASSES, REQUESTED + "dial tcp: lookup api.example: no such host"),
    (PASSES, REQUESTED + "http2: client connection lost"),
    (PASSES, REQUESTED + "EOF"),
    (PASSES, "mkdir /var/lib/kubelet/pods/x: no space left on device"),
    (DEFINITE, 'secret "other" not found'),
    (DEFINITE, "couldn't find key TIMEOUT in Secret jobs/other"),
    (DEFINITE, "references non-existent secret key: unreachable"),
    (DEFINITE, 'secrets "s" is forbidden: User "u" cannot get resource "secrets" in the namespace "jobs"'),
]

ATTACH, SET_UP = 'AttachVolume.Attach failed for volume "v" : ', 'MountVolume.SetUp failed for volume "v" : '
NFS = SET_UP + "mount failed: exit status 32 Mounting command: mount Output: mount.nfs: "
VAULT = SET_UP + "rpc error: code = Unknown desc = error making mount request: Error making API request. "
VOLUMES = [
    (PASSES, ATTACH + "CSINode n1 does not contain driver ebs.csi.example"),
    (PASSES, ATTACH + "volume attachment is being deleted"),
    (PASSES, ATTACH + "rpc error: code = Internal desc = api error VolumeInUse: x is already attached to an instance"),
    (PASSES, ATTACH + "googleapi: Error 400: The disk resource is already being used by n2"),
    (PASSES, ATTACH + "the object has been modified; please apply your changes to the latest version and try again"),
    (PASSES, ATTACH + "rpc error: code = Internal desc = an operation with the given Volume ID x already exists"),
    (PASSES, SET_UP + "rpc error: code = Internal desc = format of disk failed: device or resource busy"),
    (PASSES, "Volume has not been added to the list of VolumesInUse in the node's volume status for volume v"),
    (PASSES, NFS + "No route to host"),
    (PASSES, NFS + "Failed to resolve server nfs.example: Temporary failure in name resolution"),
    (PASSES, NFS + "Connection refused"),
    (DEFINITE, NFS + "access denied by server while mounting n:/x"),
    (PASSES, VAULT + "URL: GET https://v.example/v1/x Code: 503. Errors: * Vault is sealed"),
    (DEFINITE, VAULT + "URL: GET https://v.example/v1/x Code: 403. Errors: * permission denied"),
    (DEFINITE, SET_UP + "references non-existent secret key: token"),
    (DEFINITE, SET_UP + "hostPath type check failed: /data is not a directory"),
    (DEFINITE, SET_UP + "wrong fs type, bad option, bad superblock on /dev/sdb"),
]

CASES = [
    *((5101, limit, "ErrImagePull", text) for limit, text in IMAGES),
    *((5108, limit, "CreateContainerConfigError", text) for limit, text in ANYWHERE),
    *((5108, limit, "FailedMount", text) for limit, text in (*VOLUMES, *((n, SET_UP + text) for n, text in ANYWHERE))),
]


@pytest.mark.parametrize(("code", "limit", "reason", "text"), CASES)
def test_its_limit_follows_from_what_is_said(code: int, limit: int, reason: str, text: str) -> None:
    by_event = reason == "FailedMount"
    pod = starting() if by_event else starting(coat=waits(reason, text))
    seen = read(job_document(), pod, (happened(reason, text),) if by_event else ())
    assert judge(seen, 0.0, seen.queued_since or 0.0, LIMITS) == Waits(limit)
    assert ended(seen).code == code
    assert text in ended(seen).err
    assert " ".join((f"Why {text}" if by_event else f"Why {reason}: coat: {text}").split()) in explained(seen)
