"""HTTP to one API server: credentials and addresses by the official client, requests and bodies by us.

The official client finds the cluster (in a pod, or by a kubeconfig), runs credential plugins, rereads an in-cluster
token and says which CA, certificate and proxy apply. Its own requests cost several times as much, have no default
timeout and no bound for a whole answer, so ours go by the HTTP client that the composition root passes in.

What an answer means is decided by `refuse`; a silence is `Unsettled`, for the driver to settle.
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
"""How long credentials are used before they are read again (as client-go does with token files)."""

_TOKEN = ("BearerToken", "authorization")
"""The names by which the official client keeps a token: of a kubeconfig, and of a pod."""

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"  # RFC 7396
METADATA = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1,{JSON}"
"""What we want to hear of what we wrote: its metadata alone, as client-go's metadata client asks for it. So no Secret
comes back, and a Job in half the bytes. (API servers before 1.15 send the whole object all the same.)"""


class ApiServerResponse(msgspec.Struct, frozen=True):
    """What the API server said."""

    status: int
    body: bytes
    retry_after: int | None = None

    @property
    def message(self) -> str:
        """The API server's own words (the `message` of a Status)."""
        return self._told.message or f"HTTP {self.status}"

    @property
    def taken(self) -> bool:
        """Whether there is an object of that name already.

        A create is answered with 409 also where the namespace's quota was being used by others at that moment: that
        says nothing of the name (`Conflict` instead of `AlreadyExists`; plugin/resourcequota/controller.go of the
        API server, 1.34).
        """
        return self.status == 409 and self._told.reason == "AlreadyExists"

    @property
    def _told(self) -> _Status:
        try:
            return msgspec.json.decode(self.body, type=_Status)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return _Status()


class _Status(msgspec.Struct):
    message: str = ""
    reason: str = ""


class _Access(msgspec.Struct, frozen=True):
    """Where the API server is and who we are to it, as one reading had it."""

    route: Route
    token: str
    """The value of the header Authorization; empty where certificates say who we are."""

    def __repr__(self) -> str:
        return f"_Access({self.route})"


class ApiServerClient:
    """Requests to one API server, from any number of threads and greenlets.

    Opens connections when first used, so after the fork. Credentials are read in a thread of their own, since a plugin
    may take its time. Nobody waits for it but who has none yet, or whose were refused.
    """

    def __init__(
        self, settings: KubernetesSection, *, http: HttpClient, clock: Clock, environ: Mapping[str, str] = os.environ
    ) -> None:
        self._settings = settings
        self._http = http
        self._clock = clock
        self._environ = environ
        self._lock = threading.Lock()  # never held while anything is waited for
        self._access: _Access | None = None
        self._due = 0.0
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
        """The answer, whatever its status. Credentials that were refused are read anew, once.

        Raises Unsettled where there is no whole answer, Unavailable where no request can have been made.
        """
        access = self._access or self._other_than(None, deadline)
        if self._clock.monotonic() > self._due:
            self._read_again()
        target = f"{path}?{urlencode(query)}" if query else path
        content = None if body is None else msgspec.json.encode(body)
        answer = self._send(access, method, target, deadline, content, media)
        if answer.status == 401:
            access = self._other_than(access, deadline)
            answer = self._send(access, method, target, deadline, content, media)
        return answer

    def _send(
        self, access: _Access, method: str, target: str, deadline: Deadline, content: bytes | None, media: str
    ) -> ApiServerResponse:
        headers = [f"Accept: {JSON if method == 'GET' else METADATA}", f"Content-Type: {media}"]
        if access.token:
            headers.append(f"Authorization: {access.token}")
        response = self._http.request(access.route, method, target, deadline, body=content, headers=headers)
        return ApiServerResponse(response.status, response.body, response.retry_after)

    def _other_than(self, refused: _Access | None, deadline: Deadline) -> _Access:
        """What is read anew, or has been since those were read. Raises Unavailable where that fails or takes too long.

        It may be the same again, where nothing has changed.
        """
        deadline.check("reading the credentials for Kubernetes")
        with self._lock:
            if self._access is not None and self._access is not refused:
                return self._access
            reading = self._begin()
        try:
            return reading(deadline)
        except TimeoutError as error:
            raise Unavailable(
                "no credentials for Kubernetes yet: the kubeconfig's credential plugin takes too long; try"
                " `kubectl get --raw /version` with the same kubeconfig"
            ) from error

    def _read_again(self) -> None:
        """For those who come later; what is there is used until then."""
        with self._lock:
            if self._clock.monotonic() > self._due:
                self._begin()

    def _begin(self) -> Callable[[Deadline], _Access]:
        """The reading that is under way, or one that begins now."""
        self._due = self._clock.monotonic() + CREDENTIAL_SECONDS
        if self._reading is None:
            self._reading = concurrency.start_thread(self._read)
        return self._reading

    def _read(self) -> _Access:
        access = self._access
        try:
            access = _read_access(self._settings, self._environ)
        except Unavailable as error:
            if access is not None:
                log.warning("%s; those read before are used as long as the API server takes them", error)
            raise
        finally:
            with self._lock:
                self._reading, self._access = None, access
        return access


def _read_access(settings: KubernetesSection, environ: Mapping[str, str]) -> _Access:
    """Raises Unavailable where there are no credentials that can be used."""
    configuration = Configuration()
    try:
        if settings.kubeconfig or SERVICE_HOST_ENV_NAME not in environ:
            _read_kubeconfig(configuration, settings)
        else:
            load_incluster_config(configuration)
        # The client would read files and run the plugin once more, at a moment of its own choice.
        configuration.refresh_api_key_hook = None
        return _Access(_route(configuration), configuration.get_api_key_with_prefix(*_TOKEN) or "")
    except (ConfigException, yaml.YAMLError, OSError, ValueError, KeyError, TypeError) as error:
        raise Unavailable(
            f"no usable credentials for Kubernetes ({type(error).__name__}: {' '.join(str(error).split())}); in a pod,"
            " mount a service account's token; elsewhere, set kubernetes.kubeconfig"
        ) from error


def _read_kubeconfig(configuration: Configuration, settings: KubernetesSection) -> None:
    """What `load_kube_config` does; which only logs that a plugin failed, and leaves us to be refused as nobody."""
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
            f"the credential plugin of the kubeconfig's user {name} gave neither a token nor a certificate, see the log"
        )


def _route(configuration: Configuration) -> Route:
    """What the official client has found out; a token is sent with each request instead."""
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


def refuse(answer: ApiServerResponse, doing: str) -> None:
    """Raise the error that a refusing answer means; return for 2xx, 404 and 409, which the driver understands.

    `doing` is what we wanted, like "create jobs in namespace x".
    """
    status = answer.status
    if status < 400 or status in (404, 409):
        return
    message = answer.message
    if status == 429:
        raise Busy(f"the API server is throttling: {message}", retry_after=answer.retry_after)
    if status >= 500:
        raise Unsettled(f"the API server failed to {doing}: {message}", retry_after=answer.retry_after)
    if status == 403 and "exceeded quota" in message:
        raise Busy(f"the namespace's quota is used up: {message}", retry_after=30)
    if status == 401:
        raise Unavailable(f"the API server knows our credentials no longer ({message}); renew them", retry_after=10)
    if status == 403:
        raise Rejected(f"we are not allowed to {doing}: {message}; grant it as in deploy/kubernetes")
    raise Rejected(f"the API server refused to {doing}: {message}")


def collection(group: str, namespace: str, kind: str, *names: str) -> str:
    """The path of a collection, or of one object in it: `collection("apis/batch/v1", "ns", "jobs", "x", "status")`."""
    return "/".join(
        ("", group, "namespaces", quote(namespace, safe=""), kind, *(quote(name, safe="") for name in names))
    )
