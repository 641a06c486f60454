"""HTTP to one API server: the official client reads credentials and addresses, this module sends the requests.

The official client finds the cluster (in a pod, or from a kubeconfig), runs credential plugins, rereads an in-cluster
token and determines CA, client certificate and proxy. Its own requests cost several times as much, have no default
timeout and no size limit for a response. So requests use the HTTP client that the composition root passes in.

`raise_for_status` decides what a response means. A missing response is `Unsettled`; the driver then reads the object.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import yaml
from kubernetes.client import Configuration
from kubernetes.client.rest import should_bypass_proxies
from kubernetes.config import ConfigException, load_incluster_config
from kubernetes.config.incluster_config import SERVICE_HOST_ENV_NAME
from kubernetes.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION, KubeConfigLoader, KubeConfigMerger

from runner.config.drivers import KubernetesSection
from runner.drivers.http.client import HttpClient, Route, Unsettled
from runner.errors import Busy, Rejected, Unavailable
from runner.runtime import concurrency
from runner.runtime.clock import Clock, Deadline

log = logging.getLogger("orchestrator.kubernetes")

CREDENTIAL_SECONDS = 60.0
"""Credentials are read again after so many seconds (as client-go does with token files)."""

_TOKEN = ("BearerToken", "authorization")
"""The keys under which the official client stores a token: from a kubeconfig, and in a pod."""

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"  # RFC 7396
METADATA = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1,{JSON}"
"""The Accept header of a write: the response has only the object's metadata, as for client-go's metadata client. So no
Secret is sent back, and a Job needs half the bytes. (API servers before 1.15 still send the whole object.)"""


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


class _Status(msgspec.Struct):
    message: str = ""
    reason: str = ""


class _Access(msgspec.Struct, frozen=True):
    """The address of the API server and the credentials for it, as read from the kubeconfig or the pod's files."""

    route: Route
    token: str
    """The value of the header Authorization; empty if a client certificate is used."""

    def __repr__(self) -> str:
        return f"_Access({self.route})"


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
        self._access: _Access | None = None
        self._refresh_at = 0.0
        self._reading: Callable[[Deadline], _Access] | None = None

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
    ) -> ApiServerResponse:
        """Send a request and return the response, for any status. After a 401, reads the credentials again once.

        Raises Unsettled if the response is missing or incomplete, Unavailable if no request was sent.
        """
        access = self._access or self._other_access(None, deadline)
        if self._clock.monotonic() > self._refresh_at:
            self._read_again()
        path_and_query = f"{path}?{urlencode(query)}" if query else path
        content = None if body is None else msgspec.json.encode(body)
        response = self._send(access, method, path_and_query, deadline, content, media)
        if response.status == 401:
            access = self._other_access(access, deadline)
            response = self._send(access, method, path_and_query, deadline, content, media)
        return response

    def _send(
        self, access: _Access, method: str, path_and_query: str, deadline: Deadline, content: bytes | None, media: str
    ) -> ApiServerResponse:
        headers = [f"Accept: {JSON if method == 'GET' else METADATA}", f"Content-Type: {media}"]
        if access.token:
            headers.append(f"Authorization: {access.token}")
        response = self._http.request(access.route, method, path_and_query, deadline, body=content, headers=headers)
        return ApiServerResponse(response.status, response.body, response.retry_after)

    def _other_access(self, refused: _Access | None, deadline: Deadline) -> _Access:
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

    def _start_reading(self) -> Callable[[Deadline], _Access]:
        """The reading that is in progress, or a new one. The caller holds the lock."""
        self._refresh_at = self._clock.monotonic() + CREDENTIAL_SECONDS
        if self._reading is None:
            self._reading = concurrency.start_thread(self._read)
        return self._reading

    def _read(self) -> _Access:
        access = self._access
        try:
            access = _read_access(self._settings, self._environ)
        except Unavailable as error:
            if access is not None:
                log.warning("%s; the previous credentials are used until the API server rejects them", error)
            raise
        finally:
            with self._lock:
                self._reading, self._access = None, access
        return access


def _read_access(settings: KubernetesSection, environ: Mapping[str, str]) -> _Access:
    """Read address and credentials. Raises Unavailable if there are no usable credentials."""
    configuration = Configuration()
    try:
        if settings.kubeconfig or SERVICE_HOST_ENV_NAME not in environ:
            _read_kubeconfig(configuration, settings)
        else:
            load_incluster_config(configuration)
        # The hook would make the client read files and run the plugin again at any later call.
        configuration.refresh_api_key_hook = None
        return _Access(_route(configuration), configuration.get_api_key_with_prefix(*_TOKEN) or "")
    except (ConfigException, yaml.YAMLError, OSError, ValueError, KeyError, TypeError) as error:
        raise Unavailable(
            f"no usable credentials for Kubernetes ({type(error).__name__}: {' '.join(str(error).split())}); in a pod,"
            " mount a service account's token; elsewhere, set kubernetes.kubeconfig"
        ) from error


def _read_kubeconfig(configuration: Configuration, settings: KubernetesSection) -> None:
    """Like `load_kube_config`, which only logs that a plugin failed and then sends requests without credentials."""
    path = settings.kubeconfig or KUBE_CONFIG_DEFAULT_LOCATION
    document = KubeConfigMerger(path).config
    if document is None:
        raise ConfigException(f"there is no kubeconfig at {path}")
    loader = KubeConfigLoader(document, active_context=settings.context or None)
    loader.load_and_set(configuration)
    name = loader.current_context["context"].get("user")
    user = document["users"].get_with_name(name, safe=True) if name else None
    if user and "exec" in user["user"] and not (configuration.api_key or configuration.cert_file):
        raise ConfigException(
            f"the credential plugin of the kubeconfig's user {name} returned neither token nor certificate, see the log"
        )


def _route(configuration: Configuration) -> Route:
    """The route to the API server, from the official client's configuration. Each request adds the token."""
    bypassed = should_bypass_proxies(configuration.host, configuration.no_proxy or "")
    return Route(
        url=configuration.host.rstrip("/"),
        server="the API server",
        trust="the CA in the kubeconfig",
        ca_file=configuration.ssl_ca_cert or "",
        cert_file=configuration.cert_file or "",
        key_file=configuration.key_file or "",
        verify=configuration.verify_ssl,
        server_name=configuration.tls_server_name or "",
        proxy="" if bypassed else configuration.proxy or "",
        proxy_headers=tuple(f"{name}: {value}" for name, value in (configuration.proxy_headers or {}).items()),
    )


def raise_for_status(response: ApiServerResponse, action: str) -> None:
    """Raise the error that an error status means; return for 2xx, 404 and 409, which the driver handles itself.

    `action` is what the request should do, like "create jobs in namespace x".
    """
    status = response.status
    if status < 400 or status in (404, 409):
        return
    message = response.message
    if status == 429:
        raise Busy(f"the API server is throttling: {message}", retry_after=response.retry_after)
    if status >= 500:
        raise Unsettled(f"the API server failed to {action}: {message}", retry_after=response.retry_after)
    if status == 403 and "exceeded quota" in message:
        raise Busy(f"the namespace's quota is used up: {message}", retry_after=30)
    if status == 401:
        raise Unavailable(f"the API server rejects our credentials ({message}); renew them", retry_after=10)
    if status == 403:
        raise Rejected(f"we are not allowed to {action}: {message}; grant it as in deploy/kubernetes")
    raise Rejected(f"the API server refused to {action}: {message}")


def collection(group: str, namespace: str, kind: str, *names: str) -> str:
    """The path of a collection, or of one object in it: `collection("apis/batch/v1", "ns", "jobs", "x", "status")`."""
    return "/".join(
        ("", group, "namespaces", quote(namespace, safe=""), kind, *(quote(name, safe="") for name in names))
    )
