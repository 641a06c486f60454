"""The address of the API server and the credentials for it, by the official client's loaders."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import yaml
from kubernetes.client import Configuration
from kubernetes.client.rest import should_bypass_proxies
from kubernetes.config import ConfigException, load_incluster_config
from kubernetes.config.incluster_config import SERVICE_HOST_ENV_NAME
from kubernetes.config.kube_config import KubeConfigLoader

from runner.config.drivers import KubernetesSection
from runner.drivers.http.client import Route
from runner.drivers.kubernetes.credentials import kubeconfig, plugin
from runner.errors import Unavailable

_TOKEN = ("BearerToken", "authorization")
"""The keys under which the official client stores a token: from a kubeconfig, and in a pod."""


_UNREADABLE = (
    *(ConfigException, yaml.YAMLError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError),
)


_MAX_REASON = 1000
"""Characters of a loader's error."""


class Access(msgspec.Struct, frozen=True):
    """The address of the API server and the credentials for it, as read from the kubeconfig or the pod's files."""

    route: Route
    token: str
    """The value of the header Authorization; empty if a client certificate is used."""
    impersonation: tuple[str, ...] = ()
    """Headers that name whom to act as, each as `Name: value`."""

    def __repr__(self) -> str:
        return f"Access({self.route})"


def read_access(settings: KubernetesSection, environ: Mapping[str, str]) -> Access:
    """Read address and credentials. Raises Unavailable if there are no usable credentials."""
    configuration = Configuration()
    impersonation: tuple[str, ...] = ()
    try:
        if settings.kubeconfig or SERVICE_HOST_ENV_NAME not in environ:
            impersonation = _read_kubeconfig(configuration, settings, environ)
        else:
            load_incluster_config(configuration)
        # The hook would make the client read files again at any later call.
        configuration.refresh_api_key_hook = None
        token = (configuration.get_api_key_with_prefix(*_TOKEN) or "").strip()
        _require_one_line(token)
        return Access(_route(configuration), token, impersonation)
    except _UNREADABLE as error:
        raise Unavailable(
            f"no usable credentials for Kubernetes ({type(error).__name__}: {_reason(error)}); in a pod,"
            " mount a service account's token; elsewhere, set kubernetes.kubeconfig"
        ) from error


def check_kubeconfig(settings: KubernetesSection, environ: Mapping[str, str]) -> None:
    """Read the kubeconfig, but run no plugin. Raises Unavailable with the reason if it cannot be used."""
    try:
        _require_one_line(kubeconfig.read(settings.kubeconfig, settings.context, environ).token())
    except _UNREADABLE as error:
        raise Unavailable(_reason(error)) from error


def _reason(error: BaseException) -> str:
    """What is wrong, in one line. It is cut, since a loader quotes what it could not read."""
    return " ".join(str(error)[:_MAX_REASON].split())


def _require_one_line(token: str) -> None:
    """A header's value. It is a secret, so it is not quoted."""
    if not (token.isascii() and token.isprintable()):
        raise ConfigException("the token must be one line of printable ASCII text; write it anew")


def _read_kubeconfig(
    configuration: Configuration, settings: KubernetesSection, environ: Mapping[str, str]
) -> tuple[str, ...]:
    """Fill the official client's configuration. The headers that impersonate are returned: it has no place for them."""
    found = kubeconfig.read(settings.kubeconfig, settings.context, environ)
    if found.plugin is not None:
        given = plugin.login(found, environ)
    else:
        given = {"token": token} if (token := found.token()) else {}
    KubeConfigLoader(found.document(given), config_base_path=None).load_and_set(configuration)
    if "auth-provider" in found.user and not configuration.get_api_key_with_prefix(*_TOKEN):
        raise ConfigException(f"the auth-provider of the kubeconfig's user {found.user_name} has no valid id-token")
    return found.impersonation()


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
