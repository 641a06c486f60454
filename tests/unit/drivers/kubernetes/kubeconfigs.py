"""Kubeconfigs, and what a client must send for each: headers, or nothing. kubectl is held against the same table."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tests.cluster.certificates import Authority

VERSION = "client.authentication.k8s.io/v1"
PLUGIN = {"apiVersion": VERSION, "interactiveMode": "Never"}
EXTRA = {"Reason/x%y": ["1", "2"], "acme.com/p": ["z"]}

PRINTS = """#!/bin/sh
cat <<'END'
{{"apiVersion": "{version}", "kind": "ExecCredential", "status": {status}}}
END
"""
CLUSTER_AWARE = """#!/bin/sh
case "$KUBERNETES_EXEC_INFO" in *certificate-authority-data*'"config":{{"k":"v"}}'*) ;; *) exit 1;; esac
cat <<END
{{"apiVersion": "{version}", "kind": "ExecCredential", "status": {{"token": "aware-$GIVEN"}}}}
END
"""


class Case(msgspec.Struct, frozen=True):
    """`user`, `cluster`, `context` and `top` change a good kubeconfig. `sent` is None where it is refused."""

    name: str
    user: Mapping[str, Any] = {}
    cluster: Mapping[str, Any] = {}
    context: Mapping[str, Any] = {}
    top: Mapping[str, Any] = {}
    sent: tuple[str, ...] | None = None
    said: str = ""
    """Part of our refusal."""
    kubectl: bool = True
    """Whether kubectl does the same."""

    def __repr__(self) -> str:
        return self.name


def _sent(name: str, user: Mapping[str, Any], *headers: str, **others: Any) -> Case:
    return Case(name, user, sent=tuple(sorted(headers)), **others)


def _refused(name: str, said: str, user: Mapping[str, Any] = {"token": "t"}, **others: Any) -> Case:
    return Case(name, user, said=said, **others)


def _token(name: str, user: Mapping[str, Any], token: str, **others: Any) -> Case:
    return _sent(name, user, f"authorization: Bearer {token}", **others)


def _printing(status: Mapping[str, Any], *, kind: str = "ExecCredential", **others: Any) -> Mapping[str, Any]:
    """A user whose plugin prints this."""
    printed = json.dumps({"apiVersion": VERSION, "kind": kind, "status": status})
    return {"exec": {**PLUGIN, "command": "sh", "args": ["-c", 'echo "$0"', printed], **others}}


def _bomb() -> Any:
    """A few lines of YAML with aliases, that stand for 9^9 values."""
    value: list[Any] = ["x"]
    for _ in range(9):
        value = [value] * 9
    return value


T = "authorization: Bearer t"
SHARED = {"a": ["b"]}
CERTIFICATE = {"client-certificate": "client.crt", "client-key": "client.key"}
CASES = [
    _token("a token", {"token": "t"}, "t"),
    _token("a token file that ends in a line feed", {"tokenFile": "token"}, "from-file"),
    _token("a token file below another directory", {"tokenFile": "../kubeconfigs/token"}, "from-file"),
    _token("both: the file", {"token": "t", "tokenFile": "token"}, "from-file"),
    _token("both, the file is missing", {"token": "t", "tokenFile": "nowhere"}, "t"),
    _token("both, the file is empty", {"token": "t", "tokenFile": "empty"}, "t"),
    _token("an empty token and a file", {"token": "", "tokenFile": "token"}, "from-file"),
    _token("a null token and a file", {"token": None, "tokenFile": "token"}, "from-file"),
    _refused("a missing token file", "nowhere", {"tokenFile": "nowhere"}),
    _refused("an empty token file", "is empty", {"tokenFile": "empty"}),
    _refused("a number as token", "token must be text", {"token": 12345}),
    _token("a token that ends in a line feed", {"token": "t\n"}, "t", kubectl=False),  # it refuses the header
    _token("null values", {"token": "t", "as": None, "as-groups": None, "exec": None}, "t"),
    _token("null values of the cluster", {"token": "t"}, "t", cluster={"proxy-url": None, "tls-server-name": None}),
    _token("null data beside a file", {"token": "t"}, "t", cluster={"certificate-authority-data": None}),
    _token("empty data beside a file", {"token": "t"}, "t", cluster={"certificate-authority-data": ""}),
    _token("keys that nobody knows", {"token": "t", "new": 1}, "t", cluster={"new": [1]}, top={"new": {}}),
    _token(
        "no verification",
        {"token": "t"},
        "t",
        cluster={"certificate-authority": None, "insecure-skip-tls-verify": True},
    ),
    _token("aliases", {"token": "t"}, "t", top={"extensions": [SHARED, SHARED]}, kubectl=False),
    *(
        _refused(f"aliases that never end, in {place}", "aliases make it too large", kubectl=False, **{place: change})
        for place, change in (("context", {"new": _bomb()}), ("cluster", {"new": _bomb()}), ("top", {"new": _bomb()}))
    ),
    _refused("a CA that is no certificate", "certificate-authority is no certificate in PEM",
             cluster={"certificate-authority": "token"}, kubectl=False),
    _refused("a CA's data that is no certificate", "certificate-authority is no certificate in PEM",
             cluster={"certificate-authority-data": "YQ=="}, kubectl=False),
    _refused("a directory as CA", "names a file that cannot be read", cluster={"certificate-authority": "/tmp"},
             kubectl=False),
    _refused("a client certificate that is none", "client-certificate is no certificate",
             {"client-certificate": "token", "client-key": "client.key"}, kubectl=False),
    _refused("a client key that is none", "client-key is no private key",
             {"client-certificate": "client.crt", "client-key": "client.crt"}, kubectl=False),
    _refused("a port 0", "has no server", cluster={"server": "https://a:0"}, kubectl=False),
    _refused("a host that cannot be", "has no server", cluster={"server": "https://999.1.1.1"}, kubectl=False),
    _refused("a token of two lines", "one line of printable ASCII", {"token": "a\nX: y"}, kubectl=False),
    _refused("a token that is not ASCII", "one line of printable ASCII", {"token": "\u00e9"}, kubectl=False),
    _refused(
        "a directory as token file", "tokenFile names a file that cannot be read", {"tokenFile": "/tmp"}, kubectl=False
    ),
    _refused(
        "a key without certificate", "client-key without client-certificate", {"client-key-data": "YQ=="}, kubectl=False
    ),
    _refused("a login in the server", "without a login", cluster={"server": "https://u:p@a"}, kubectl=False),
    _refused("a query in the server", "without a login", cluster={"server": "https://a?b=c"}, kubectl=False),
    _refused("a server without host", "has no server", cluster={"server": "https://"}, kubectl=False),
    _refused("a server with a bad port", "has no server", cluster={"server": "https://a:99999"}, kubectl=False),
    _refused("a server with half an address", "has no server", cluster={"server": "https://[::1"}, kubectl=False),
    _refused("a proxy without host", "proxy-url must be", cluster={"proxy-url": "http://"}, kubectl=False),
    _refused("a proxy with a bad port", "proxy-url must be", cluster={"proxy-url": "http://p:x"}, kubectl=False),
    _refused("a TLS name of two lines", "tls-server-name must", cluster={"tls-server-name": "a\nb"}, kubectl=False),
    _refused("a number as argument", "cannot be run", {"exec": {**PLUGIN, "args": [1]}}, kubectl=False),
    _refused("a mapping as variables", "cannot be run", {"exec": {**PLUGIN, "env": {"a": "b"}}}, kubectl=False),
    _refused("a list as command", "cannot be run", {"exec": {**PLUGIN, "command": ["sh"]}}, kubectl=False),
    _refused(
        "two users of one name", "has two users named", top={"users": [{"name": "u", "user": {}}] * 2}, kubectl=False
    ),
    _refused("a mapping of users", "must be a mapping with lists", top={"users": {"u": {"token": "t"}}}, kubectl=False),
    _refused("an empty entry", "must be a mapping with lists", top={"users": [None]}, kubectl=False),
    _refused("a file of another kind", "of the kind 'Pod'", top={"kind": "Pod"}),
    _refused("a file of another version", "apiVersion 'v2'", top={"apiVersion": "v2"}),
    _token("a file without kind and version", {"token": "t"}, "t", top={"kind": None, "apiVersion": None}),
    _refused(
        "a client certificate with another's key",
        "client-key does not belong to client-certificate",
        {"client-certificate": "ca.crt", "client-key": "client.key"},
    ),
    _refused(
        "a provider whose token cannot be read",
        "no valid id-token",
        {"auth-provider": {"name": "oidc", "config": {"id-token": "a-b-c"}}},
        kubectl=False,
    ),
    _token("a variable without value", _printing({"token": "x"}, env=[{"name": "A", "value": None}]), "x"),
    _token("a plugin that prints null", _printing({"token": "x", "clientKeyData": None}), "x"),
    _refused("a plugin that prints another kind", "printed the kind 'Pod'", _printing({"token": "x"}, kind="Pod")),
    _refused(
        "a plugin that prints no date", "no ExecCredential", _printing({"token": "x", "expirationTimestamp": "soon"})
    ),
    _refused(
        "a plugin that prints half a pair", "no client certificate", _printing({"token": "x", "clientKeyData": "y"})
    ),
    _refused(
        "a plugin that prints no pair",
        "no client certificate",
        _printing({"clientCertificateData": "x", "clientKeyData": "y"}),
    ),
    _refused("a missing user", "no user 'ghost', which the context", context={"user": "ghost"}),
    _refused("a missing cluster", "no cluster 'ghost'", context={"cluster": "ghost"}),
    _refused("a missing context", "no context 'ghost'", top={"current-context": "ghost"}),
    _refused("no current context", "no current-context", top={"current-context": ""}),
    _refused("no clusters", "no cluster 'c'", top={"clusters": None}),
    _refused("no server", "no server", cluster={"server": None}),
    _refused("a server without scheme", "no server", cluster={"server": "127.0.0.1:1"}),
    _refused("a missing CA", "names a file that cannot be read", cluster={"certificate-authority": "x"}),
    _refused("data that is no base64", "is not base64", cluster={"certificate-authority-data": "!!"}),
    _refused("a CA that is not used", "exclude each other", cluster={"insecure-skip-tls-verify": True}),
    _refused("a proxy that is no URL", "proxy-url must be", cluster={"proxy-url": "nonsense"}),
    _sent("a client certificate", CERTIFICATE, "certificate: client"),
    _sent(
        "a client certificate and a token",
        {**CERTIFICATE, "token": "t"},
        *("certificate: client", T),
    ),
    _refused("a client certificate without key", "without client-key", {"client-certificate": "client.crt"}),
    _refused("a missing client certificate", "cannot be read", {"client-certificate": "x", "client-key": "x"}),
    _sent("a password", {"username": "a", "password": "b"}, "authorization: Basic YTpi"),
    _sent("a user without password", {"username": "a"}, "authorization: Basic YTo="),
    _refused("a token and a password", "both a token and a password", {"token": "t", "username": "a", "password": "b"}),
    _refused("a provider that was removed", "only oidc is left", {"auth-provider": {"name": "gcp"}}),
    _refused("a provider that never was", "only oidc is left", {"auth-provider": {"name": "acme"}}),
    _refused("a provider without a name", "only oidc is left", {"auth-provider": {"config": {"a": "b"}}}),
    _refused("a port over 65535", "has no server", cluster={"server": "https://a:65536"}, kubectl=False),
    _refused("a scheme of another protocol", "has no server", cluster={"server": "ftp://a"}, kubectl=False),
    _sent("as", {"token": "t", "as": "nobody"}, T, "impersonate-user: nobody"),
    _sent(
        "as, with all that belongs to it",
        {"token": "t", "as": "nobody", "as-uid": "7", "as-groups": ["a", "b c"], "as-user-extra": EXTRA},
        T,
        *("impersonate-user: nobody", "impersonate-uid: 7", "impersonate-group: a", "impersonate-group: b c"),
        *("impersonate-extra-reason%2fx%25y: 1", "impersonate-extra-reason%2fx%25y: 2"),
        "impersonate-extra-acme.com%2fp: z",
    ),
    _refused("groups without as", "without `as`", {"token": "t", "as-groups": ["a"]}),
    _refused("as with a letter beyond ASCII", "printable ASCII", {"token": "t", "as": "né"}, kubectl=False),
    _refused("as with a line feed", "printable ASCII", {"token": "t", "as": "a\nImpersonate-Group: system:masters"}),
    _token("a plugin beside the kubeconfig", {"exec": {**PLUGIN, "command": "./plugin"}}, "from-plugin"),
    _token("a plugin on PATH", {"exec": {**PLUGIN, "command": "sh", "args": ["{home}/plugin"]}}, "from-plugin"),
    _token("a plugin and a token", {"token": "t", "exec": {**PLUGIN, "command": "./plugin"}}, "t"),
    _sent(
        "a plugin and a password",
        {"username": "a", "password": "b", "exec": {**PLUGIN, "command": "./plugin"}},
        "authorization: Basic YTpi",
    ),
    _sent("a plugin and as", {"exec": {**PLUGIN, "command": "./plugin"}, "as": "x"},
          "authorization: Bearer from-plugin", "impersonate-user: x"),
    _sent("a plugin that returns a certificate", {"exec": {**PLUGIN, "command": "./certified"}}, "certificate: client"),
    _token("a plugin that is given the cluster", {
        "exec": {**PLUGIN, "command": "./aware", "provideClusterInfo": True, "env": [{"name": "GIVEN", "value": "env"}]}
    }, "aware-env", cluster={"extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"k": "v"}}]}),
    _refused("a plugin that is not there", "not an executable file", {"exec": {**PLUGIN, "command": "plugin"}}),
    _refused("a plugin that fails", "ended with 3 (no luck)", {"exec": {**PLUGIN, "command": "./fails"}}),
    _refused("a plugin that prints nothing", "printed no ExecCredential", {"exec": {**PLUGIN, "command": "true"}}),
    _refused("a plugin without result", "its status has none", {"exec": {**PLUGIN, "command": "./none"}}),
    _refused("a plugin of another version", "printed apiVersion", {
        "exec": {**PLUGIN, "apiVersion": f"{VERSION}beta1", "command": "./plugin"}
    }),
    _refused("a plugin of a version that is gone", "has apiVersion", {
        "exec": {**PLUGIN, "apiVersion": f"{VERSION}alpha1", "command": "./plugin"}
    }),
    _refused("a plugin without mode", "no interactiveMode", {"exec": {"apiVersion": VERSION, "command": "./plugin"}}),
    _refused("a plugin that needs a terminal", "no terminal", {
        "exec": {**PLUGIN, "interactiveMode": "Always", "command": "./plugin"}
    }),
]  # fmt: skip


def write(home: Path, case: Case, url: str) -> Path:
    """The case's kubeconfig, in a directory with the files that the cases name."""
    directory = home / "kubeconfigs"
    _write_files(directory)
    user = json.loads(json.dumps(dict(case.user)).replace("{home}", str(directory)))
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority": "ca.crt", **case.cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", **case.context}}],
        "current-context": "x",
        **case.top,
    }
    path = directory / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path


def _write_files(directory: Path) -> None:
    (directory / "token").write_text("from-file\n")
    (directory / "empty").write_text("")
    pair = {"clientCertificateData": "client.crt", "clientKeyData": "client.key"}
    programs = {
        "plugin": PRINTS.format(version=VERSION, status='{"token": "from-plugin"}'),
        "certified": PRINTS.format(
            version=VERSION,
            status=json.dumps({name: (directory / file).read_text() for name, file in pair.items()}),
        ),
        "none": PRINTS.format(version=VERSION, status="{}"),
        "fails": "#!/bin/sh\necho no luck >&2\nexit 3\n",
        "aware": CLUSTER_AWARE.format(version=VERSION),
    }
    for name, text in programs.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)


class Recorder(http.server.ThreadingHTTPServer):
    """An API server that records who each request says to be: sorted lines `name: value`, names in lower case."""

    daemon_threads = True
    seen: list[tuple[str, ...]]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Recorder

    def do_GET(self) -> None:
        named = ((name.lower(), value) for name, value in self.headers.items())
        who = (f"{name}: {value}" for name, value in named if name.startswith(("authorization", "impersonate-")))
        certificate = self.connection.getpeercert()  # type: ignore[attr-defined]
        subject = [f"certificate: {value}" for ((_, value),) in (certificate or {}).get("subject", ())]
        self.server.seen.append(tuple(sorted([*who, *subject])))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def recorder(home: Path) -> Iterator[Recorder]:
    """A server with a certificate, whose CA and a client's certificate are in the directory of the kubeconfigs."""
    directory = home / "kubeconfigs"
    directory.mkdir()
    authority = Authority(home / "pki", "ca")
    authority.create()
    (directory / "ca.crt").write_bytes(authority.pair.certificate.read_bytes())
    client, own = authority.issue("client"), authority.issue("server", hosts=("127.0.0.1",))
    (directory / "client.crt").write_bytes(client.certificate.read_bytes())
    (directory / "client.key").write_bytes(client.key.read_bytes())
    server = Recorder(("127.0.0.1", 0), _Handler)
    server.seen = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    context.load_verify_locations(authority.pair.certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
