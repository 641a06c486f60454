"""HTTP to one API server: credentials and addresses by the official client, requests and bodies by us.

The official client finds the cluster (in a pod, or by a kubeconfig), runs credential plugins, rereads an in-cluster
token and says which CA, certificate and proxy apply. Its own requests cost several times as much, have no default
timeout and no bound for a whole answer, so ours go another way (`runner.drivers.exchange`).

What an answer means is decided by `refuse`; a silence is `Unsettled`, for the driver to settle.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from kubernetes.client import Configuration
from kubernetes.client.rest import should_bypass_proxies
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config
from kubernetes.config.incluster_config import SERVICE_HOST_ENV_NAME

from runner.drivers import Deadline
from runner.drivers.exchange import Exchange, Route, Unsettled
from runner.errors import Busy, Rejected, Unavailable
from runner.settings import Kubernetes

CREDENTIAL_SECONDS = 60.0
"""How long credentials from a kubeconfig are used before its token files are read again (as in client-go)."""

TOKEN_SECONDS = 10.0
"""How long a token is used before the client is asked whether it has expired; a refused one is renewed at once."""

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"  # RFC 7396
METADATA = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1,{JSON}"
"""What we want to hear of what we wrote: its metadata alone, as client-go's metadata client asks for it. So no Secret
comes back, and a Job in half the bytes. (API servers before 1.15 send the whole object all the same.)"""


class Answer(msgspec.Struct, frozen=True):
    """What the API server said."""

    status: int
    body: bytes
    retry_after: int | None = None

    @property
    def message(self) -> str:
        """The API server's own words (the `message` of a Status)."""
        try:
            return msgspec.json.decode(self.body, type=_Status).message or f"HTTP {self.status}"
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return f"HTTP {self.status}"


class _Status(msgspec.Struct):
    message: str = ""


class ApiServer:
    """One API server, from any number of threads. Opens connections when first used, so after the fork."""

    def __init__(self, settings: Kubernetes, *, environ: Mapping[str, str] = os.environ) -> None:
        self._settings = settings
        self._environ = environ
        self._exchange = Exchange("the API server", "the CA in the kubeconfig")
        self._loading = threading.Lock()
        self._loaded_at = 0.0
        self._token = ""
        self._token_until = 0.0
        self._configuration: Configuration | None = None
        self._route: Route | None = None

    def __repr__(self) -> str:
        return f"ApiServer({self._route.url if self._route else 'not connected yet'})"

    def call(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        media: str = JSON,
    ) -> Answer:
        """The answer, whatever its status. Credentials that were refused are read anew, once.

        Raises Unsettled where there is no whole answer, Unavailable where no request can have been made.
        """
        answer = self._send(method, path, deadline, body, query, media)
        if answer.status == 401:
            self._load(older_than=time.monotonic())
            answer = self._send(method, path, deadline, body, query, media)
        return answer

    def _send(
        self, method: str, path: str, deadline: Deadline, body: Any, query: Mapping[str, str] | None, media: str
    ) -> Answer:
        configuration, route = self._connected()
        reply = self._exchange.request(
            route,
            method,
            f"{path}?{urlencode(query)}" if query else path,
            deadline,
            body=None if body is None else msgspec.json.encode(body),
            headers=self._headers(configuration, JSON if method == "GET" else METADATA, media),
        )
        return Answer(reply.status, reply.body, reply.retry_after)

    def _headers(self, configuration: Configuration, accepted: str, media: str) -> list[str]:
        if time.monotonic() > self._token_until:
            # Asking the client for its token makes it look at the clock, its files and every proxy variable anew.
            self._token = configuration.get_api_key_with_prefix("BearerToken", alias="authorization") or ""
            self._token_until = time.monotonic() + TOKEN_SECONDS
        authorization = [f"Authorization: {self._token}"] if self._token else []
        return [f"Accept: {accepted}", f"Content-Type: {media}", *authorization]

    def _connected(self) -> tuple[Configuration, Route]:
        if self._route is None or time.monotonic() - self._loaded_at > CREDENTIAL_SECONDS:
            self._load(older_than=time.monotonic() - CREDENTIAL_SECONDS)
        assert self._configuration is not None
        assert self._route is not None
        return self._configuration, self._route

    def _load(self, older_than: float) -> None:
        """Read the credentials, unless another thread has done so meanwhile. The same route keeps its connections."""
        with self._loading:
            if self._route is not None and self._loaded_at > older_than:
                return
            self._configuration = self._read_configuration()
            self._route = _route(self._configuration)
            self._loaded_at, self._token_until = time.monotonic(), 0.0

    def _read_configuration(self) -> Configuration:
        configuration = Configuration()
        try:
            if self._settings.kubeconfig or SERVICE_HOST_ENV_NAME not in self._environ:
                load_kube_config(
                    self._settings.kubeconfig or None,
                    context=self._settings.context or None,
                    client_configuration=configuration,
                    persist_config=False,
                )
            else:
                load_incluster_config(configuration)
        except (ConfigException, OSError, ValueError, KeyError, TypeError) as error:
            raise Unavailable(
                f"no usable credentials for Kubernetes ({type(error).__name__}: {error}); in a pod, mount a service"
                " account's token; elsewhere, set kubernetes.kubeconfig"
            ) from error
        return configuration


def _route(configuration: Configuration) -> Route:
    """What the official client has found out; a token is sent with each request instead."""
    bypassed = should_bypass_proxies(configuration.host, configuration.no_proxy or "")
    return Route(
        url=configuration.host.rstrip("/"),
        ca_file=configuration.ssl_ca_cert or "",
        cert_file=configuration.cert_file or "",
        key_file=configuration.key_file or "",
        verify=configuration.verify_ssl,
        server_name=configuration.tls_server_name or "",
        proxy="" if bypassed else configuration.proxy or "",
        proxy_headers=tuple(f"{name}: {value}" for name, value in (configuration.proxy_headers or {}).items()),
    )


def refuse(answer: Answer, doing: str) -> None:
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
