"""Namespaces of our own on both clusters, with the permissions that the code ships, and what clears them away."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import urllib3
import yaml

from tests.cluster import KubernetesAccess, NomadAccess
from tests.recorder.clusters import kubernetes_api, nomad_api
from tests.recorder.rest import Api, ApiError

_RBAC = "/apis/rbac.authorization.k8s.io/v1"


class KubernetesPlace:
    """A namespace that enforces the restricted profile, with the account of deploy/kubernetes/rbac.yaml."""

    def __init__(
        self, access: KubernetesAccess, code: Path, work: Path, *objects: dict[str, Any], account: str = ""
    ) -> None:
        """`account` is the namespace of the account that may act here; this one, if it is empty."""
        self.access = access
        self.api: Api = kubernetes_api(access)
        self.name = f"prove-{uuid.uuid4().hex[:8]}"
        self._account = account or self.name
        self._work = work
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": self.name, "labels": labels}})
        shipped = yaml.safe_load_all((code / "deploy" / "kubernetes" / "rbac.yaml").read_text())
        for each in (*filter(None, shipped), *objects):
            self.create(each)

    def create(self, document: dict[str, Any]) -> None:
        """Create one object in this namespace."""
        kind = f"{document['kind'].lower()}s"
        group = document["apiVersion"]
        root = f"/apis/{group}" if "/" in group else f"/api/{group}"
        for subject in document.get("subjects", ()):
            subject["namespace"] = self._account
        self.api.call("POST", f"{root}/namespaces/{self.name}/{kind}", document)

    def kubeconfig(self, server: str = "") -> Path:
        """A kubeconfig of the shipped account. `server` may be the URL of a proxy, in plain HTTP."""
        account = f"/api/v1/namespaces/{self.name}/serviceaccounts/orchestrator/token"
        request = {"spec": {"expirationSeconds": 36000, "audiences": []}}
        token = self.api.call("POST", account, request)["status"]["token"]
        cluster = {"server": server or self.access.url}
        if not server:
            cluster["certificate-authority"] = str(self.access.ca)
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "prove",
            "clusters": [{"name": "prove", "cluster": cluster}],
            "users": [{"name": "prove", "user": {"token": token}}],
            "contexts": [{"name": "prove", "context": {"cluster": "prove", "user": "prove"}}],
        }
        path = self._work / f"kubeconfig-{uuid.uuid4().hex[:6]}"
        path.touch(0o600)
        path.write_text(yaml.safe_dump(document))
        return path

    def path(self, kind: str, name: str = "") -> str:
        """The path of a collection, or of one object."""
        root = "/apis/batch/v1" if kind == "jobs" else "/api/v1"
        return f"{root}/namespaces/{self.name}/{kind}" + (f"/{name}" if name else "")

    def delete(self, kind: str, name: str) -> None:
        """Delete one object, and what it owns after it."""
        with suppress(ApiError):
            self.api.call("DELETE", self.path(kind, name), {"propagationPolicy": "Background"})

    def leader(self) -> str:
        """Who holds the Lease of the tracker; empty if there is none."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.name}/leases"
        leases = self.api.call("GET", path)["items"]
        return next((each["spec"].get("holderIdentity") or "" for each in leases), "")

    def close(self) -> None:
        with suppress(ApiError, urllib3.exceptions.HTTPError):
            self.api.call("DELETE", f"/api/v1/namespaces/{self.name}")


class NomadPlace:
    """A namespace with a token under deploy/nomad/policy.hcl."""

    def __init__(self, access: NomadAccess, code: Path, work: Path) -> None:
        self.access = access
        self.api: Api = nomad_api(access)
        self.name = f"prove-{uuid.uuid4().hex[:8]}"
        self.token_file = work / f"{self.name}.token"
        self.api.call("POST", f"/v1/namespace/{self.name}", {"Name": self.name})
        policy = (code / "deploy" / "nomad" / "policy.hcl").read_text()
        rules = policy.replace('namespace "default"', f'namespace "{self.name}"')
        self.api.call("POST", f"/v1/acl/policy/{self.name}", {"Name": self.name, "Rules": rules})
        request = {"Name": self.name, "Type": "client", "Policies": [self.name]}
        self._token = self.api.call("POST", "/v1/acl/token", request)
        self.token_file.touch(0o600)
        self.token_file.write_text(self._token["SecretID"])

    def purge(self, job: str) -> None:
        """Remove a job completely, as Nomad's garbage collection or an operator does."""
        with suppress(ApiError):
            self.api.call("DELETE", f"/v1/job/{job}", namespace=self.name, purge="true")

    def close(self) -> None:
        with suppress(ApiError, urllib3.exceptions.HTTPError):
            self._each("/v1/jobs", "ID", "/v1/job/", purge="true")
            self._each("/v1/vars", "Path", "/v1/var/")
            self.api.call("DELETE", f"/v1/acl/token/{self._token['AccessorID']}")
            self.api.call("DELETE", f"/v1/acl/policy/{self.name}")
            self.api.call("DELETE", f"/v1/namespace/{self.name}")

    def _each(self, collection: str, key: str, prefix: str, **query: str) -> None:
        names: Iterable[str] = (each[key] for each in self.api.call("GET", collection, namespace=self.name))
        for name in names:
            with suppress(ApiError):
                self.api.call("DELETE", f"{prefix}{name}", namespace=self.name, **query)
