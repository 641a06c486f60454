"""Records Jobs, pods and Secrets, as the API server returns them."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recorder import release, states
from recorder.cut import Cut
from recorder.states import HALF_MADE, STATES, Recording

from tests import cluster
from tests.kubernetes.namespaces import Namespace

NOWHERE = {"nowhere": {"nodeSelector": {"orchestrator.test/place": "nowhere"}}}
_OF_THE_CLUSTER = ("batch.kubernetes.io/controller-uid", "controller-uid")


def record(make_config: Any) -> dict[str, Any]:
    access, shell = cluster.up().kubernetes, cluster.image("shell")
    cluster.load_into_kubernetes(shell)
    with tempfile.TemporaryDirectory() as work:
        namespace = Namespace.create(access, Path(work), make_config)
        try:
            return _record(namespace, shell.reference)
        finally:
            namespace.delete()


def _record(namespace: Namespace, image: str) -> dict[str, Any]:
    config, held = namespace.config(), namespace.config(pools=NOWHERE, defaultPool="nowhere")
    driver, held_driver = (release.kubernetes_driver(each, states.secrets) for each in (config, held))
    recording = Recording(driver, held_driver, config, held, image)
    for state in STATES:
        recording.play(state)
    _half_made(recording, config, image)
    listed = recording.listed()
    objects = _objects(namespace)
    return {
        "placeholders": {namespace.name: "{namespace}", image: "{image}"},
        "states": {
            state: {**listed[state], "objects": objects.get(name, [])} for state, name in recording.names.items()
        },
    }


def _half_made(recording: Recording, config: Any, image: str) -> None:
    """A Job without its Secret."""
    cut = Cut(lambda method, path: method == "POST" and path.endswith("/secrets"))
    driver = release.kubernetes_driver(config, states.secrets, cut.wrap)
    planned = states.job(HALF_MADE, config, image)
    recording.names[HALF_MADE.name] = planned.name
    cut.expect_death(lambda: driver.submit(planned, release.after(states.SECONDS)))


def _objects(namespace: Namespace) -> dict[str, list[dict[str, Any]]]:
    """By job: the objects to create, in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for job in namespace.objects("jobs"):
        found[job["metadata"]["name"]] = [_job(job)]
    for secret in namespace.objects("secrets"):
        for owner in _owners(secret):
            found[owner].append(_secret(secret))
    for pod in namespace.objects("pods"):
        for owner in _owners(pod):
            found[owner].append(_pod(pod))
    return found


def _owners(item: dict[str, Any]) -> Iterator[str]:
    return (owner["name"] for owner in item["metadata"].get("ownerReferences", ()) if owner["kind"] == "Job")


def _job(job: dict[str, Any]) -> dict[str, Any]:
    spec = {name: value for name, value in job["spec"].items() if name not in ("selector", "template")}
    template = {"spec": job["spec"]["template"]["spec"]}
    if labels := _labels(job["spec"]["template"]["metadata"]):
        template["metadata"] = {"labels": labels}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(job),
        "spec": {**spec, "template": template},
        "status": job["status"],
    }


def _secret(secret: dict[str, Any]) -> dict[str, Any]:
    values = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(secret),
        "immutable": secret["immutable"],
        "type": secret["type"],
        "stringData": values,
    }


def _pod(pod: dict[str, Any]) -> dict[str, Any]:
    """The pod without its spec, which is the Job's template."""
    addresses = ("hostIP", "hostIPs", "podIP", "podIPs")
    status = {name: value for name, value in pod["status"].items() if name not in addresses}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": _metadata(pod), "status": status}


def _metadata(item: dict[str, Any]) -> dict[str, Any]:
    metadata = item["metadata"]
    kept = {"name": metadata["name"], "labels": _labels(metadata), "annotations": metadata.get("annotations", {})}
    return {name: value for name, value in kept.items() if value}


def _labels(metadata: dict[str, Any]) -> dict[str, str]:
    labels = metadata.get("labels") or {}
    return {name: value for name, value in labels.items() if name not in _OF_THE_CLUSTER}
