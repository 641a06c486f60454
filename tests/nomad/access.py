"""The running Nomad, as its administrator, and as the Orchestrator by what deploy/nomad/policy.hcl grants."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import urllib3

from runner.config.types import Config
from tests.cluster import NomadAccess
from tests.cluster.rest import Rest

POLICY = Path(__file__).resolve().parents[2] / "deploy" / "nomad" / "policy.hcl"


class Nomad:
    """A namespace of its own, with the shipped policy in it and a token for that; gone when closed."""

    def __init__(self, access: NomadAccess, directory: Path) -> None:
        self.access = access
        self.namespace = f"test-{uuid.uuid4().hex[:12]}"
        self.token_file = directory / f"{self.namespace}.token"
        self._rest = Rest(access.url, access.ca, (("X-Nomad-Token", access.token),))
        self._kept = urllib3.PoolManager(ca_certs=str(access.ca))  # a benchmark leaves thousands of jobs to delete
        self.put("namespace", {"Name": self.namespace})
        self.allow(POLICY.read_text())
        self.renew()

    def allow(self, policy: str) -> None:
        """Give the Orchestrator's token that policy, for this namespace."""
        rules = policy.replace('namespace "default"', f'namespace "{self.namespace}"')
        self.put(f"acl/policy/{self.namespace}", {"Name": self.namespace, "Rules": rules})

    def allow_all_but(self, capability: str) -> None:
        """The shipped policy less one capability."""
        text, count = re.subn(rf'"{capability}",? ?', "", POLICY.read_text())
        assert count == 1, f"{capability} stands {count} times in {POLICY}"
        self.allow(text)

    def renew(self) -> None:
        """A new token, in the same file."""
        self._token = self.put("acl/token", {"Name": self.namespace, "Type": "client", "Policies": [self.namespace]})
        self.token_file.write_text(self._token["SecretID"])

    def revoke(self) -> None:
        """What stands in the file is good for nothing any more."""
        self.delete(f"acl/token/{self._token['AccessorID']}")

    def config(self, make_config: Callable[..., Config], *, pools: Any = None, **nomad: Any) -> Config:
        """A configuration for this namespace, as the Orchestrator."""
        section = {
            "address": self.access.url,
            "caFile": str(self.access.ca),
            "tokenFile": str(self.token_file),
            "namespace": self.namespace,
            "taskDriver": "raw_exec",
            **nomad,
        }
        return make_config(driver="nomad", nomad=section, **({"pools": pools} if pools else {}))

    def get(self, path: str, **query: str) -> Any:
        """As the administrator, in this namespace."""
        asked = "&".join(f"{name}={value}" for name, value in {"namespace": self.namespace, **query}.items())
        return self._rest(f"/v1/{path}?{asked}")

    def put(self, path: str, body: Any) -> Any:
        return self._rest(f"/v1/{path}?namespace={self.namespace}", body)

    def delete(self, path: str, **query: str) -> None:
        asked = "&".join(f"{name}={value}" for name, value in {"namespace": self.namespace, **query}.items())
        headers = {"X-Nomad-Token": self.access.token}
        url = f"{self.access.url}/v1/{path}?{asked}"
        answer = self._kept.request("DELETE", url, headers=headers, timeout=10, retries=False)
        if answer.status >= 300:
            raise RuntimeError(f"{path} was not deleted: {answer.status} {answer.data[:200]!r}")

    def purge(self, name: str) -> None:
        """Remove a job and its name, as the garbage collection would, or an operator."""
        self.delete(f"job/{name}", purge="true")

    def close(self) -> None:
        for job in self.get("jobs"):
            self.purge(job["ID"])
        for variable in self.get("vars"):
            self.delete(f"var/{variable['Path']}")
        self.revoke()
        self.delete(f"acl/policy/{self.namespace}")
