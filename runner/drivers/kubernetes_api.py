"""HTTP to one API server: credentials and TLS by the official client, requests and bodies by us.

The official client finds the cluster (in a pod, or by a kubeconfig), verifies its CA, runs credential plugins, follows
proxies and rereads an in-cluster token. Its typed calls cost several times the request itself, have no default timeout
and no bound for a whole answer, so requests go straight through its connection pool.

What an answer means is decided by `refuse`; a silence is `Unsettled`, for the driver to settle.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config
from kubernetes.config.incluster_config import SERVICE_HOST_ENV_NAME

from runner.drivers import Deadline
from runner.errors import Busy, Rejected, Unavailable
from runner.settings import Kubernetes

log = logging.getLogger("orchestrator.kubernetes")

CONNECT_SECONDS = 3.0
READ_SECONDS = 8.0
"""For the first byte of an answer, and between two pieces of it; the deadline bounds the whole."""

CREDENTIAL_SECONDS = 60.0
"""How long credentials from a kubeconfig are used before its token files are read again (as in client-go)."""

TOKEN_SECONDS = 10.0
"""How long a token is used before the client is asked whether it has expired; a refused one is renewed at once."""

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"  # RFC 7396


class Unsettled(Unavailable):
    """The request may or may not have been applied: reset, timed out, or answered with a 5xx."""


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

    def __init__(self, settings: Kubernetes, *, connections: int = 32, environ: Mapping[str, str] = os.environ) -> None:
        self._settings = settings
        self._connections = connections
        self._environ = environ
        self._loading = threading.Lock()
        self._loaded_at = 0.0
        self._token = ""
        self._token_until = 0.0
        self._configuration: Configuration | None = None
        self._pool: urllib3.PoolManager | None = None

    def __repr__(self) -> str:
        return f"ApiServer({self._configuration.host if self._configuration else 'not connected yet'})"

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
        deadline.check(f"asking the API server ({method} {path})")
        configuration, pool = self._connected()
        url = f"{configuration.host}{path}{'?' + urlencode(query) if query else ''}"
        with _our_errors(configuration.host):
            response = pool.request(
                method,
                url,
                body=None if body is None else msgspec.json.encode(body),
                headers=self._headers(configuration, media),
                timeout=urllib3.Timeout(
                    connect=min(CONNECT_SECONDS, deadline.left), read=min(READ_SECONDS, deadline.left)
                ),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            content = _read(response, deadline)
        return Answer(response.status, content, _retry_after(response))

    def _headers(self, configuration: Configuration, media: str) -> dict[str, str]:
        if time.monotonic() > self._token_until:
            # Asking the client for its token makes it look at the clock, its files and every proxy variable anew.
            self._token = configuration.get_api_key_with_prefix("BearerToken", alias="authorization") or ""
            self._token_until = time.monotonic() + TOKEN_SECONDS
        authorization = {"Authorization": self._token} if self._token else {}
        return {"Accept": JSON, "Content-Type": media, "User-Agent": "orchestrator", **authorization}

    def _connected(self) -> tuple[Configuration, urllib3.PoolManager]:
        if self._pool is None or time.monotonic() - self._loaded_at > CREDENTIAL_SECONDS:
            self._load(older_than=time.monotonic() - CREDENTIAL_SECONDS)
        assert self._configuration is not None
        assert self._pool is not None
        return self._configuration, self._pool

    def _load(self, older_than: float) -> None:
        """Read the credentials, unless another thread has done so meanwhile; keep the connections where it can be."""
        with self._loading:
            if self._pool is not None and self._loaded_at > older_than:
                return
            fresh = self._read_configuration()
            if self._pool is None or _identity(fresh) != _identity(self._configuration):
                self._pool = ApiClient(fresh).rest_client.pool_manager
            self._configuration, self._loaded_at, self._token_until = fresh, time.monotonic(), 0.0

    def _read_configuration(self) -> Configuration:
        configuration = Configuration()
        configuration.connection_pool_maxsize = self._connections
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


def _identity(configuration: Configuration | None) -> tuple[Any, ...]:
    """What a connection depends on; a token is sent with each request instead."""
    names = ("host", "ssl_ca_cert", "cert_file", "key_file", "verify_ssl", "tls_server_name", "proxy")
    files = ("ssl_ca_cert", "cert_file", "key_file")
    changed = tuple(_changed_at(getattr(configuration, name, None)) for name in files)
    return (*(getattr(configuration, name, None) for name in names), *changed)


def _changed_at(path: str | None) -> float:
    try:
        return os.stat(path).st_mtime if path else 0.0
    except OSError:
        return 0.0


@contextmanager
def _our_errors(host: str) -> Iterator[None]:
    try:
        yield
    except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError) as error:
        raise Unavailable(f"the API server {host} cannot be reached: {error}") from error
    except urllib3.exceptions.SSLError as error:
        raise Unavailable(f"TLS with the API server {host} failed: {error}; check the CA in the kubeconfig") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Unsettled(f"the API server {host} did not answer: {error}") from error


def _read(response: urllib3.BaseHTTPResponse, deadline: Deadline) -> bytes:
    """The whole body, however slowly it drips, within the deadline."""
    pieces = bytearray()
    try:
        while piece := response.read1(1 << 20):
            pieces += piece
            if deadline.left <= 0:
                raise Unsettled("the API server's answer did not end within the deadline")
    except BaseException:
        response.close()  # the connection is in the middle of an answer
        raise
    response.release_conn()
    return bytes(pieces)


def _retry_after(response: urllib3.BaseHTTPResponse) -> int | None:
    value = response.headers.get("Retry-After", "")
    return min(int(value), 3600) if value.isascii() and value.isdigit() else None


def refuse(answer: Answer, doing: str) -> None:
    """Raise the error that a refusing answer means; return for 2xx, 404 and 409, which the driver understands.

    `doing` is what we wanted, like "create jobs in namespace x".
    """
    status, message = answer.status, answer.message
    if status < 400 or status in (404, 409):
        return
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


def pauses(deadline: Deadline) -> Iterator[None]:
    """Try, pause, try again until the deadline: 0.1 s at first, doubled up to 2 s, with jitter."""
    pause = 0.1
    while True:
        yield
        pause = min(pause * 2, 2.0)
        # S311: jitter is no secret
        wait = pause * random.uniform(0.5, 1.0)  # noqa: S311
        if deadline.left <= wait:
            return
        time.sleep(wait)
