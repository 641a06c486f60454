"""HTTP to one API server: the official client reads credentials and addresses, this module sends the requests.

The official client finds the cluster (in a pod, or from a kubeconfig), runs credential plugins, rereads an in-cluster
token and determines CA, client certificate and proxy. Its own requests cost several times as much, have no default
timeout and no size limit for a response. So requests use the HTTP client that the composition root passes in.

`raise_for_status` decides what a response means. A missing response is `Unsettled`; the driver then reads the object.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from runner.config.drivers import KubernetesSection
from runner.drivers.http.client import HttpClient, HttpResponse, Unsettled, misdirected
from runner.drivers.kubernetes.credentials import Access, read_access
from runner.drivers.nullable import Nullable, NullIsAbsent
from runner.errors import Busy, Rejected, Unavailable
from runner.runtime import concurrency
from runner.runtime.clock import Clock, Deadline

log = logging.getLogger("orchestrator.kubernetes")

CREDENTIAL_SECONDS = 60.0
"""Credentials are read again after so many seconds (as client-go does with token files)."""

_DENIED = re.compile(r'User "[^"]*" cannot (?P<verb>\S+) ')
"""In the message of a 403 that an authorizer gives. Admission gives 403 as well (a policy, a namespace that is being
deleted), and permissions don't help there (apiserver/pkg/endpoints/handlers/responsewriters of the API server)."""

_ADMISSION = re.compile(r" is forbidden: |denied the request|denied request")
"""In the message of a 403 that an admission plugin, policy or webhook gives."""

SAME_CLOCK_SECONDS = 2.0
"""Two clocks that differ by less are taken for one."""

Receive = Callable[[bytes], None]

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"  # RFC 7396
METADATA = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1,{JSON}"
"""The Accept header of a write: the response has only the object's metadata, as for client-go's metadata client. So no
Secret is sent back, and a Job needs half the bytes. (API servers before 1.15 still send the whole object.)"""
METADATA_LIST = METADATA.replace("PartialObjectMetadata", "PartialObjectMetadataList")
"""The same for a list."""


class ApiServerResponse(msgspec.Struct, frozen=True):
    """A response of the API server. `retry_after` is in seconds."""

    status: int
    body: bytes
    retry_after: int | None = None

    @property
    def message(self) -> str:
        """The API server's error message (the `message` of a Status)."""
        return self._status.message or f"HTTP {self.status}"

    @property
    def already_exists(self) -> bool:
        """Whether a create failed because an object of that name exists.

        The API server also returns 409 if another request updates the namespace's quota at the same moment. Then the
        reason is `Conflict`, not `AlreadyExists`, and the object may not exist (plugin/resourcequota/controller.go of
        the API server, 1.34).
        """
        return self.status == 409 and self._status.reason == "AlreadyExists"

    @property
    def _status(self) -> _Status:
        try:
            return msgspec.json.decode(self.body, type=_Status)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return _Status()


class _Status(NullIsAbsent, frozen=True):
    message: Nullable[str] = ""
    reason: Nullable[str] = ""


class ApiServerClient:
    """Sends requests to one API server, from any number of threads and greenlets.

    Opens connections at first use, so after the fork. Credentials are read in a separate thread, since a credential
    plugin may be slow. A request waits for that thread only if there are no credentials yet or the API server has
    rejected them.
    """

    def __init__(
        self, settings: KubernetesSection, *, http: HttpClient, clock: Clock, environ: Mapping[str, str] = os.environ
    ) -> None:
        self._settings = settings
        self._http = http
        self._clock = clock
        self._environ = environ
        self._lock = threading.Lock()  # never held while waiting
        self._access: Access | None = None
        self._refresh_at = 0.0
        self._reading: Callable[[Deadline], Access] | None = None
        self.clock_ahead = 0.0
        """By how many seconds the API server's clock is ahead of this host's, as of the last GET."""

    def __repr__(self) -> str:
        return f"ApiServerClient({self._access.route.url if self._access else 'not connected yet'})"

    def call(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        media: str = JSON,
        accept: str = "",
    ) -> ApiServerResponse:
        """Send a request and return the response, for any status. After a 401, reads the credentials again once.

        The response to a write has only the object's metadata, unless `accept` is JSON.

        Raises Unsettled if the response is missing or incomplete, Unavailable if no request was sent.
        """
        content = None if body is None else msgspec.json.encode(body)
        accept = accept or (JSON if method == "GET" else METADATA)
        where = _with(query, path)

        def send(access: Access) -> HttpResponse:
            headers = _headers(access, accept, media)
            wanted = ("date",) if method == "GET" else ()  # each header line that is read costs a call into Python
            request = self._http.request
            return request(access.route, method, where, deadline, body=content, headers=headers, wanted=wanted)

        return self._authorized(send, deadline)

    def watch(
        self, path: str, query: Mapping[str, str], deadline: Deadline, received: Receive, silence_seconds: float
    ) -> ApiServerResponse:
        """GET a response that goes on; see HttpClient.stream. Uses the credentials as `call` does."""
        where, silence = _with(query, path), silence_seconds

        def send(access: Access) -> HttpResponse:
            headers, stream = _headers(access, JSON, JSON), self._http.stream
            return stream(access.route, where, deadline, received, headers=headers, silence_seconds=silence)

        return self._authorized(send, deadline)

    def _authorized(self, send: Callable[[Access], HttpResponse], deadline: Deadline) -> ApiServerResponse:
        """Send a request with the present credentials, and once more with others if the API server rejects those."""
        access = self._access or self._other_access(None, deadline)
        if self._clock.monotonic() > self._refresh_at:
            self._read_again()
        response = send(access)
        if response.status == 401:
            response = send(self._other_access(access, deadline))
        if date := response.headers.get("date"):
            self._read_clock(date)
        return ApiServerResponse(response.status, response.body, response.retry_after)

    def _read_clock(self, date: str) -> None:
        """Note how far the API server's clock is ahead. The header has whole seconds, so small differences are none."""
        try:
            ahead = parsedate_to_datetime(date).timestamp() - self._clock.wall()
        except (ValueError, TypeError):
            return
        self.clock_ahead = ahead if abs(ahead) > SAME_CLOCK_SECONDS else 0.0

    def _other_access(self, refused: Access | None, deadline: Deadline) -> Access:
        """Credentials that were read after `refused`. Waits for a reading if there are none.

        They may be equal to `refused`, if nothing has changed. Raises Unavailable if reading fails or takes too long.
        """
        deadline.check("reading the credentials for Kubernetes")
        with self._lock:
            if self._access is not None and self._access is not refused:
                return self._access
            reading = self._start_reading()
        try:
            return reading(deadline)
        except TimeoutError as error:
            raise Unavailable(
                "no credentials for Kubernetes yet: the kubeconfig's credential plugin takes too long; try"
                " `kubectl get --raw /version` with the same kubeconfig"
            ) from error

    def _read_again(self) -> None:
        """Start reading the credentials again. Until that ends, requests use the present ones."""
        with self._lock:
            if self._clock.monotonic() > self._refresh_at:
                self._start_reading()

    def _start_reading(self) -> Callable[[Deadline], Access]:
        """The reading that is in progress, or a new one. The caller holds the lock."""
        self._refresh_at = self._clock.monotonic() + CREDENTIAL_SECONDS
        if self._reading is None:
            self._reading = concurrency.start_thread(self._read)
        return self._reading

    def _read(self) -> Access:
        access = self._access
        try:
            access = read_access(self._settings, self._environ)
        except Unavailable as error:
            if access is not None:
                log.warning("%s; the previous credentials are used until the API server rejects them", error)
            raise
        finally:
            with self._lock:
                self._reading, self._access = None, access
        return access


def _headers(access: Access, accept: str, media: str) -> list[str]:
    headers = [f"Accept: {accept}", f"Content-Type: {media}", *access.impersonation]
    return [*headers, f"Authorization: {access.token}"] if access.token else headers


def _with(query: Mapping[str, str] | None, path: str) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def raise_for_status(response: ApiServerResponse, action: str) -> None:
    """Raise the error that an error status means; return for 2xx, 404 and 409, which the driver handles itself.

    `action` is what the request should do, like "create jobs in namespace x".
    """
    status = response.status
    if status < 300 or status in (404, 409):
        return
    message = response.message
    if wrong := misdirected(status, response.body):
        raise Unavailable(
            f"the API server did not {action}: {wrong}; correct the server or the proxy in the kubeconfig",
            retry_after=10,
        )
    if status == 429:
        raise Busy(f"the API server is throttling: {message}", retry_after=response.retry_after)
    if status >= 500:
        raise Unsettled(f"the API server failed to {action}: {message}", retry_after=response.retry_after)
    if status == 403 and "exceeded quota" in message:
        raise Busy(f"the namespace's quota is used up: {message}", retry_after=30)
    if status == 401:
        raise Unavailable(f"the API server rejects our credentials ({message}); renew them", retry_after=10)
    if status == 403 and (denied := _DENIED.search(message)):
        remedy = "grant it as in deploy/kubernetes"
        if denied["verb"] == "impersonate":
            remedy = "grant that user the verb impersonate, or remove `as` from the kubeconfig"
        raise Rejected(f"we are not allowed to {action}: {message}; {remedy}")
    if status == 403 and not _ADMISSION.search(message):  # nobody says why: a proxy, perhaps
        raise Rejected(f"we are not allowed to {action}: {message}")
    raise Rejected(f"the API server refused to {action}: {message}")


def collection(group: str, namespace: str, kind: str, *names: str) -> str:
    """The path of a collection, or of one object in it: `collection("apis/batch/v1", "ns", "jobs", "x", "status")`."""
    return "/".join(
        ("", group, "namespaces", quote(namespace, safe=""), kind, *(quote(name, safe="") for name in names))
    )
