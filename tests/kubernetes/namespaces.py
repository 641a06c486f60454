"""Namespaces of a real cluster, each with the shipped service account, and a driver that uses that account."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from runner import composition
from runner.config.types import Config
from runner.drivers.kubernetes.driver import KubernetesDriver
from runner.errors import Unavailable
from runner.jobs import JobSpec
from tests.cluster import KubernetesAccess
from tests.kubernetes.jobs import until

ROOT = Path(__file__).resolve().parents[2]
RBAC = ROOT / "deploy" / "kubernetes" / "rbac.yaml"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


class Namespace(msgspec.Struct):
    """One namespace that enforces the restricted profile, with the shipped service account."""

    access: KubernetesAccess
    name: str
    work: Path
    make_config: Callable[..., Config]

    @classmethod
    def create(cls, access: KubernetesAccess, work: Path, make_config: Callable[..., Config]) -> Namespace:
        namespace = cls(access, f"t-{uuid.uuid4().hex[:10]}", work, make_config)
        metadata = {"name": namespace.name, "labels": RESTRICTED}
        namespace.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        namespace.kubectl("apply", "-f", str(RBAC))
        return namespace

    def delete(self) -> None:
        self.kubectl("delete", "namespace", self.name, "--wait=false")

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        """kubectl as the cluster's administrator, in this namespace."""
        command = [str(self.access.kubectl), "--kubeconfig", str(self.access.kubeconfig), "-n", self.name, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(arguments)}: {done.stderr}")
        return done.stdout + ("" if check else done.stderr)

    def apply(self, *objects: Mapping[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin="---\n".join(json.dumps(each) + "\n" for each in objects))

    def objects(self, kind: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, "-o", "json"))["items"]
        return items

    def config(self, *, server: str = "", **sections: Any) -> Config:
        """A configuration whose kubeconfig uses the shipped account, with a token file that can be rotated."""
        kubernetes = {"namespace": self.name, "kubeconfig": str(self.kubeconfig(server))}
        return self.make_config(driver="kubernetes", kubernetes=kubernetes, **sections)

    def driver(self, *, server: str = "", **sections: Any) -> KubernetesDriver:
        return composition.kubernetes(self.config(server=server, **sections), resolve_secrets, composition.system())

    def kubeconfig(self, server: str = "") -> Path:
        """A kubeconfig for the shipped account. `server` may be the URL of a proxy, in plain HTTP."""
        path = self.work / f"kubeconfig-{uuid.uuid4().hex[:6]}"
        cluster = {"server": server or self.access.url}
        if not server:
            cluster["certificate-authority"] = str(self.access.ca)
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"tokenFile": str(self.token_file)}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
        path.write_text(yaml.safe_dump(document))
        return path

    @property
    def token_file(self) -> Path:
        path = self.work / f"token-{self.name}"
        if not path.exists():
            path.write_text(self.token())
        return path

    def token(self) -> str:
        return self.kubectl("create", "token", "orchestrator", "--duration=1h").strip()

    def renew_token(self, driver: KubernetesDriver) -> None:
        """Revoke the token, wait until the API server rejects it, then write a new one to the token file."""
        self.kubectl("delete", "serviceaccount", "orchestrator")  # revokes all tokens
        self.kubectl("apply", "-f", str(RBAC))
        until(lambda: _refused(driver), what="the API server to reject the old token")
        self.token_file.write_text(self.token())


def _refused(driver: KubernetesDriver) -> bool:
    try:
        driver.check()
    except Unavailable as error:
        return "credentials" in error.detail
    return False


def resolve_secrets(job: JobSpec) -> dict[str, str]:
    """Secret values that a test can search for."""
    return {name: f"sealed-{name}-of-{job.name}" for name in job.secrets}
