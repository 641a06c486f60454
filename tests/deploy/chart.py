"""helm, and what it renders from the chart."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tests import cluster
from tests.cluster import binaries
from tests.cluster.lifecycle import places
from tests.cluster.machine.programs import run
from tests.conftest import ROOT

CHART = ROOT / "deploy" / "helm" / "orchestrator"
SHAPES = sorted((CHART / "ci").glob("*.yaml"))
RELEASE, NAMESPACE = "trial", "trial-namespace"
_GATEWAY = "sigs.k8s.io/gateway-api@v1.5.1"
_PROMETHEUS = "monitoring.coreos.com/v1"

Object = dict[str, Any]


def helm(*arguments: str | Path) -> str:
    """helm's output. Raises ClusterError, with the output's end, if it fails."""
    return run(binaries.build(places(), binaries.HELM) / "helm", *arguments)


def values_file(directory: Path, values: Object) -> Path:
    path = directory / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def render(values: Path | Object, *, namespace: str = NAMESPACE, prometheus: bool = True, chart: Path = CHART) -> str:
    """The manifests of a release with these values, as YAML."""
    versions = ("--api-versions", _PROMETHEUS) if prometheus else ()
    target = (RELEASE, chart, "--namespace", namespace, "--kube-version", "1.34.0", *versions)
    with tempfile.TemporaryDirectory() as scratch:
        path = values if isinstance(values, Path) else values_file(Path(scratch), values)
        return helm("template", *target, "--values", path)


def objects(manifests: str) -> dict[tuple[str, str], Object]:
    """The objects by kind and name."""
    loaded = [each for each in yaml.load_all(manifests, yaml.CSafeLoader) if each]
    return {(each["kind"], each["metadata"]["name"]): each for each in loaded}


def smallest(**values: Any) -> Object:
    """The values that have only what is required, and these."""
    config = {"runner": {"id": "runner-1"}, "deepsource": {"host": "https://atlas.example"}}
    return {"config": {**config, **values.pop("config", {})}, **values}


def gateway_kinds(access: cluster.KubernetesAccess) -> None:
    """Let the API server know the Gateway API's routes, from the definitions in their Go module."""
    with tempfile.TemporaryDirectory() as scratch:
        got = msgspec.json.decode(run("go", "mod", "download", "-json", _GATEWAY, cwd=Path(scratch)))
    definitions = Path(got["Dir"]) / "config" / "crd" / "standard"
    for kind in ("httproutes", "grpcroutes"):
        file = definitions / f"gateway.networking.k8s.io_{kind}.yaml"
        kubectl(access, "apply", "--server-side", "--force-conflicts", "-f", str(file))


def kubectl(access: cluster.KubernetesAccess, *arguments: str, stdin: str = "", check: bool = True) -> str:
    """kubectl's output, as the administrator; with `check=False` also that of a failure."""
    command = [str(access.kubectl), "--kubeconfig", str(access.kubeconfig), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout if check else done.stdout + done.stderr
