"""One installation with all protocols and all drivers, its broker, its clusters, and an atlas that keeps every body."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import jwt
import pika
import urllib3
import yaml

from examples.broker import Broker, install
from runner.request_types import REQUEST_TYPES
from tests.cluster import Cluster
from tests.conftest import ROOT, make_key_pair
from tests.harness.processes import Process, Processes, eventually, free_port
from tests.protocols.conftest import GrpcClient, message
from tests.prove.places import KubernetesPlace, NomadPlace
from tests.security.canary.fields import Markers
from tests.security.canary.programs import in_images, on_this_host

EXCHANGE = "canary"
CLONE_SECONDS = 10


class BodyRecorder(ThreadingHTTPServer):
    """An atlas, and a proxy in front of it: keeps every body. It answers the first one of each path 500."""

    daemon_threads = True

    def __init__(self, host: str) -> None:
        super().__init__((host, 0), _Recorded)
        self.bodies: list[str] = []
        self.seen: set[str] = set()
        self.proxy_logins: set[str] = set()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        host, port = self.server_address[:2]
        return f"{host!s}:{port}"


class _Recorded(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BodyRecorder

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())
        self.server.proxy_logins.add(self.headers.get("Proxy-Authorization", ""))
        first = self.path not in self.server.seen
        self.server.seen.add(self.path)
        self.send_response(500 if first else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Log:
    """The log of all processes. Only what is new in it is read, since it is asked for a hundred times a second."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._file = stack.enter_context(path.open())
        self._rest = ""
        self._lines: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def lines(self) -> list[dict[str, Any]]:
        """Its lines so far, without the jobs that the printer printed."""
        with self._lock:
            *whole, self._rest = (self._rest + self._file.read()).split("\n")
            self._lines += [
                json.loads(line) for line in whole if line not in ("", "---") and not line.startswith('{"apiVersion"')
            ]
            return self._lines[:]


class CanaryStand:
    """The running installation, and its clients. `answers` has all that they were answered."""

    def __init__(self, servers: Cluster, work: Path, markers: Markers, stack: ExitStack) -> None:
        self.work, self.markers = work, markers
        self.atlas = BodyRecorder(servers.kubernetes.host)
        stack.callback(self.atlas.server_close)
        stack.callback(self.atlas.shutdown)
        self.kubernetes = KubernetesPlace(servers.kubernetes, ROOT, work)
        stack.callback(self.kubernetes.close)
        self.nomad = NomadPlace(servers.nomad, ROOT, work)
        stack.callback(self.nomad.close)
        images = stack.enter_context(in_images())
        self._runner_keys, self._atlas_keys = make_key_pair(), make_key_pair()
        self.config = work / "orchestrator.yaml"
        self._http, self._grpc, self._metrics = free_port(), free_port(), free_port()
        self.config.touch(0o600)
        self.config.write_text(yaml.safe_dump(self._document(images)))
        self._mark_credentials()
        self._broker_url = self._broker(stack)
        self.answers: list[str] = []
        self._processes = Processes(work)
        stack.callback(self._processes.end)
        self.up: Process = self._processes.python(
            *("-m", "runner", "up", "--config", str(self.config)), ORCHESTRATOR_AMQP_URL=self._broker_url
        )
        self._log = Log(self.up.log, stack)
        self._token = jwt.encode(
            {"exp": int(time.time()) + 3600, "runner_id": "canary"}, self._atlas_keys.private, "RS256"
        )
        markers.add("the request's bearer token", self._token.rpartition(".")[2][:40])
        self._client = GrpcClient(self._grpc, self._token)
        stack.callback(self._client.channel.close)
        self._await_ready()

    def send(
        self, protocol: str, request_type: str, document: dict[str, Any], request_id: str, token: str = ""
    ) -> None:
        """Send it, and keep the answer."""
        send = {"http": self._send_http, "grpc": self._send_grpc, "amqp": self._send_amqp}[protocol]
        send(request_type, document, request_id, token or self._token)

    def jobs_of(self, request_id: str) -> list[str]:
        """The names of the jobs of an accepted request."""
        return eventually(lambda: self._accepted(request_id), f"{request_id} is accepted", 60)

    def log(self) -> list[dict[str, Any]]:
        """The lines of all processes, but what the printer printed."""
        return self._log.lines()

    def ended(self) -> set[str]:
        """The jobs whose end is in the log."""
        return {line["job"] for line in self.log() if line["message"] == "ended"}

    def dead_letters(self) -> Iterator[str]:
        """The headers of each dead letter; its body is the sender's own."""
        with self._channel() as channel:
            while True:
                method, properties, _ = channel.basic_get(f"{EXCHANGE}.dead-letter", auto_ack=True)
                if method is None:
                    return
                yield repr(properties.headers)

    def metrics(self, path: str) -> str:
        """What the metrics' endpoint answers at this path."""
        answer = urllib3.request("GET", f"http://127.0.0.1:{self._metrics}{path}", timeout=10, retries=False)
        return answer.data.decode()

    def stop(self) -> None:
        self.up.end()

    def _document(self, images: str) -> dict[str, Any]:
        mark = self.markers.make
        programs = on_this_host(self.work)
        return {
            "runner": {"id": "canary", "privateKey": self._runner_keys.private},
            "deepsource": {"host": f"http://{self.atlas.address}", "publicKey": self._atlas_keys.public},
            "sentry": {"dsn": f"https://{mark('sentry.dsn')}@sentry.invalid/4"},
            "results": {"proxy": f"http://user:{mark('results.proxy')}@{self.atlas.address}"},
            "log": {"level": "debug"},
            "metrics": {"bind": f"127.0.0.1:{self._metrics}"},
            "protocols": ["http", "grpc", "amqp"],
            "http": {"bind": f"127.0.0.1:{self._http}", "workers": 1},
            "grpc": {"bind": f"127.0.0.1:{self._grpc}", "workers": 1},
            "rabbitmq": {"exchange": EXCHANGE, "delays": [1]},
            "sidecar": {"socket": str(self.work / "runner.sock"), "workers": 1},
            "limits": {"cloneSeconds": CLONE_SECONDS},
            "local": {"directory": str(self.work / "jobs"), "images": programs, "parallelism": 8},
            "kubernetes": {
                "namespace": self.kubernetes.name,
                "kubeconfig": str(self.kubernetes.kubeconfig()),
                "imageRegistry": {"registryUrl": images, "pullPolicy": "Never"},
            },
            "nomad": {
                "address": self.nomad.access.url,
                "caFile": str(self.nomad.access.ca),
                "tokenFile": str(self.nomad.token_file),
                "namespace": self.nomad.name,
                "taskDriver": "raw_exec",
                "images": programs,
                "coreMhz": 100,
            },
            "pools": {name: {"driver": name} for name in ("local", "printer", "kubernetes", "nomad")},
            "defaultPool": "local",
        }

    def _mark_credentials(self) -> None:
        add = self.markers.add
        for line in self._runner_keys.private.splitlines()[2:-2]:
            add("runner.privateKey", line)
        document = yaml.safe_load(self.config.read_text())
        user = yaml.safe_load(Path(document["kubernetes"]["kubeconfig"]).read_text())["users"][0]["user"]
        add("the kubeconfig's token", user["token"][-40:])
        add("Nomad's token", self.nomad.token_file.read_text())

    def _broker(self, stack: ExitStack) -> str:
        install()
        password = self.markers.make("ORCHESTRATOR_AMQP_URL")
        broker = Broker(self.work / "broker", f"default_user = canary\ndefault_pass = {password}")
        broker.start()
        stack.callback(broker.stop)
        return f"amqp://canary:{password}@127.0.0.1:{broker.port}/"

    def _await_ready(self) -> None:
        def ready() -> bool:
            with suppress(urllib3.exceptions.HTTPError):
                answer = urllib3.request("GET", f"http://127.0.0.1:{self._http}/readyz", timeout=3, retries=False)
                return answer.status == 200 and {"serving gRPC", "ready"} <= {_start(each) for each in self.log()}
            return False

        eventually(ready, f"the installation is ready; see {self.up.log}", 90)

    def _accepted(self, request_id: str) -> list[str]:
        for line in self.log():
            if (line.get("request_id"), line["message"]) == (request_id, "accepted"):
                return list(line["jobs"])
        return []

    def _send_http(self, request_type: str, document: dict[str, Any], request_id: str, token: str) -> None:
        answer = urllib3.request(
            "POST",
            f"http://127.0.0.1:{self._http}{REQUEST_TYPES[request_type].paths[0]}",
            body=json.dumps(document).encode(),
            headers={
                "Authorization": f"Bearer {token}",
                "X-Request-ID": request_id,
                "Content-Type": "application/json",
            },
            timeout=20,
            retries=False,
        )
        self.answers.append(f"{answer.headers} {answer.data.decode()}")

    def _send_grpc(self, request_type: str, document: dict[str, Any], request_id: str, token: str) -> None:
        metadata = (("authorization", f"Bearer {token}"), ("x-request-id", request_id))
        try:
            answer = self._client.call(request_type)(message(request_type, document), timeout=20, metadata=metadata)
            self.answers.append(str(answer))
        except grpc.RpcError as error:
            self.answers.append(f"{error.details()} {error.trailing_metadata()} {error.initial_metadata()}")

    def _send_amqp(self, request_type: str, document: dict[str, Any], request_id: str, _token: str) -> None:
        with self._channel() as channel:
            properties = pika.BasicProperties(delivery_mode=2, message_id=request_id)
            channel.confirm_delivery()
            channel.basic_publish(EXCHANGE, request_type, json.dumps(document).encode(), properties, mandatory=True)

    @contextmanager
    def _channel(self) -> Iterator[Any]:
        connection = pika.BlockingConnection(pika.URLParameters(self._broker_url))
        try:
            yield connection.channel()
        finally:
            connection.close()


def _start(line: dict[str, Any]) -> str:
    message_ = str(line["message"])
    return "serving gRPC" if message_.startswith("serving gRPC") else message_


def new_id(word: str) -> str:
    return f"{word}-{uuid.uuid4().hex[:12]}"
