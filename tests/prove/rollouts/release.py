"""A release of the chart on the real Kubernetes: installed, upgraded, and restarted in parts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import urllib3
import yaml

from tests.deploy import image
from tests.deploy.chart import helm, kubectl
from tests.prove.installation import keys
from tests.prove.places import KubernetesPlace
from tests.recorder.rest import ApiError

NAME = "rollout"
SERVICE = f"{NAME}-orchestrator"
KEYS = "orchestrator-keys"
READY_SECONDS = 180.0
POLL_SECONDS = 0.25
TOO_MANY_REQUESTS = 429

Pod = dict[str, Any]


class Release:
    """The release in one namespace. Its pods reach the API server at its own address: no Service has one here."""

    def __init__(self, place: KubernetesPlace, work: Path, config: Mapping[str, Any]) -> None:
        self._place = place
        self._work = work
        self._config = dict(config)
        host, _, port = place.access.url.removeprefix("https://").partition(":")
        server = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        self._env = [{"name": name, "value": value} for name, value in server.items()]
        private, public = keys()
        secret = {"ORCHESTRATOR_PRIVATE_KEY": private, "ORCHESTRATOR_PUBLIC_KEY": public}
        place.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": KEYS}, "stringData": secret})

    def upgrade(self, tree: Path, **changed: Any) -> None:
        """Install the chart and the image of this tree, or upgrade to them. Returns once the rollout is complete.

        `changed` are sections of the configuration. Raises ClusterError if the rollout does not complete.
        """
        repository, _, tag = image.built(tree).rpartition(":")
        values = {
            "image": {"repository": repository, "tag": tag},
            "config": {**self._config, **changed},
            "env": self._env,
        }
        path = self._work / "values.yaml"
        path.write_text(yaml.safe_dump(values))
        chart = tree / "deploy" / "helm" / "orchestrator"
        target = ("--kubeconfig", self._place.access.kubeconfig, "--namespace", self._place.name)
        wait = ("--wait", "--timeout", f"{READY_SECONDS:.0f}s")
        helm(*target, "upgrade", "--install", NAME, chart, "--values", path, *wait)

    def addresses(self) -> list[str]:
        """The URLs of the Service's ready endpoints, sorted."""
        path = f"/apis/discovery.k8s.io/v1/namespaces/{self._place.name}/endpointslices"
        slices = self._place.api.call("GET", path, labelSelector=f"kubernetes.io/service-name={SERVICE}")["items"]
        return sorted(
            f"http://{address}:{port['port']}"
            for each in slices
            for endpoint in each.get("endpoints") or ()
            if endpoint["conditions"].get("ready")
            for address in endpoint["addresses"]
            for port in each["ports"]
        )

    def pods(self) -> dict[str, Pod]:
        """The functions' pods that are ready and not being ended, by name."""
        selected = f"app.kubernetes.io/instance={NAME},app.kubernetes.io/component=functions"
        listed = self._place.api.call("GET", self._place.path("pods"), labelSelector=selected)["items"]
        return {
            each["metadata"]["name"]: each
            for each in listed
            if "deletionTimestamp" not in each["metadata"] and _ready(each)
        }

    def restart(self, pod: str, container: str) -> None:
        """End one container by SIGTERM, and wait until the kubelet has started it again and the pod is ready."""
        before = _restarts(self.pods()[pod], container)
        end = ("python", "-c", "import os, signal; os.kill(1, signal.SIGTERM)")
        where = ("--namespace", self._place.name, "exec", pod, "--container", container)
        kubectl(self._place.access, *where, "--", *end, check=False)  # the container may end before its answer
        self._await(
            lambda: pod in (found := self.pods()) and _restarts(found[pod], container) > before,
            f"the container {container} of {pod} after its restart",
        )

    def evict(self, pod: str) -> None:
        """Evict a pod by the Eviction API, and wait until another one is ready in its place."""
        count = len(self.pods())
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        self._await(lambda: self._evicted(pod, eviction), f"the eviction of {pod}")
        self._await(lambda: len(self.pods()) >= count, f"the pod after {pod}")

    def _evicted(self, pod: str, eviction: dict[str, Any]) -> bool:
        """Whether the budget allowed it. With 429 it does not yet: another pod is not ready."""
        try:
            self._place.api.call("POST", f"{self._place.path('pods', pod)}/eviction", eviction)
        except ApiError as error:
            if error.status != TOO_MANY_REQUESTS:
                raise
            return False
        return True

    def _await(self, reached: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            if reached():
                return
            time.sleep(POLL_SECONDS)
        raise TimeoutError(f"{what} is not there within {READY_SECONDS:.0f} s")


@contextmanager
def followed(release: Release, route: Callable[[list[str]], None]) -> Iterator[None]:
    """Call `route` with the Service's ready addresses whenever they change, as an ingress controller does."""
    ended = threading.Event()

    def follow() -> None:
        known = release.addresses()
        route(known)
        while not ended.wait(POLL_SECONDS):
            with suppress(ApiError, urllib3.exceptions.HTTPError):
                present = release.addresses()
                if present and present != known:
                    route(known := present)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(30)


def _ready(pod: Pod) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ()))


def _restarts(pod: Pod, container: str) -> int:
    statuses = [*pod["status"].get("initContainerStatuses", ()), *pod["status"].get("containerStatuses", ())]
    return next(int(each["restartCount"]) for each in statuses if each["name"] == container)
