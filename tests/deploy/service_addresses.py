"""The addresses of Services, which the test cluster lacks: it has no kube-proxy.

As kube-proxy's userspace mode did, this process listens on each Service's address and passes a connection on to one of
its ready endpoints. The addresses are this host's own (on `lo`) meanwhile, and pods reach this host.
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.cluster import KubernetesAccess
from tests.deploy.chart import kubectl

_POLL_SECONDS = 0.5


@contextmanager
def service_addresses(access: KubernetesAccess, *namespaces: str) -> Iterator[None]:
    """Serve the addresses of these namespaces' Services, present and future, until the context ends."""
    stop = threading.Event()
    proxy = threading.Thread(target=_follow, args=(access, namespaces, stop))
    proxy.start()
    try:
        yield
    finally:
        stop.set()
        proxy.join()


def _follow(access: KubernetesAccess, namespaces: tuple[str, ...], stop: threading.Event) -> None:
    listeners: dict[tuple[str, int], socket.socket] = {}
    try:
        while not stop.wait(_POLL_SECONDS):
            for namespace in namespaces:
                services = json.loads(kubectl(access, "-n", namespace, "get", "services", "-o", "json"))["items"]
                for service in services:
                    for port in service["spec"]["ports"]:
                        at = (service["spec"]["clusterIP"], port["port"])
                        if at not in listeners:
                            listeners[at] = _listen(at)
                            backend = (access, namespace, service["metadata"]["name"], port["name"])
                            threading.Thread(target=_accept, args=(listeners[at], *backend), daemon=True).start()
    finally:
        for (address, _), listener in listeners.items():
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            subprocess.run(["ip", "address", "del", f"{address}/32", "dev", "lo"], check=False, capture_output=True)


def _listen(at: tuple[str, int]) -> socket.socket:
    subprocess.run(["ip", "address", "add", f"{at[0]}/32", "dev", "lo"], check=False, capture_output=True)
    return socket.create_server(at)


def _accept(listener: socket.socket, access: KubernetesAccess, namespace: str, service: str, port: str) -> None:
    with suppress(OSError):  # the listener is closed
        while True:
            client, _ = listener.accept()
            if at := _endpoint(access, namespace, service, port):
                threading.Thread(target=_pass_on, args=(client, at), daemon=True).start()
            else:
                client.close()


def _endpoint(access: KubernetesAccess, namespace: str, service: str, port: str) -> tuple[str, int] | None:
    selected = ("-l", f"kubernetes.io/service-name={service}", "-o", "json")
    slices = json.loads(kubectl(access, "-n", namespace, "get", "endpointslices", *selected))["items"]
    ready = [
        (address, number["port"])
        for each in slices
        for endpoint in each.get("endpoints") or ()
        if endpoint["conditions"].get("ready")
        for address in endpoint["addresses"]
        for number in each["ports"]
        if number["name"] == port
    ]
    return random.choice(ready) if ready else None


def _pass_on(client: socket.socket, at: tuple[str, int]) -> None:
    with suppress(OSError), client, socket.create_connection(at, 10) as server:
        server.settimeout(None)
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
