"""Access to the running Nomad: as its administrator, and as the Orchestrator with deploy/nomad/policy.hcl."""

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
    """A new namespace with the shipped policy and a token for it. `close` removes them."""

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
        """Set the policy of the Orchestrator's token, for this namespace."""
        rules = policy.replace('namespace "default"', f'namespace "{self.namespace}"')
        self.put(f"acl/policy/{self.namespace}", {"Name": self.namespace, "Rules": rules})

    def allow_all_but(self, capability: str, path: str = "") -> None:
        """Set the shipped policy without one capability, one on Variables by their path."""
        before, start, rest = POLICY.read_text().partition(f'path "{path}"' if path else "namespace")
        block, end, after = rest.partition("]")
        block, count = re.subn(rf'"{capability}",? ?', "", block)
        assert count == 1, f"{capability} occurs {count} times in {POLICY} after {start}"
        self.allow(before + start + block + end + after)

    def renew(self) -> None:
        """Write a new token to the token file."""
        self._token = self.put("acl/token", {"Name": self.namespace, "Type": "client", "Policies": [self.namespace]})
        self.token_file.write_text(self._token["SecretID"])

    def revoke(self) -> None:
        """Delete the token in the token file from Nomad."""
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
        """Send a GET as the administrator, in this namespace."""
        asked = "&".join(f"{name}={value}" for name, value in {"namespace": self.namespace, **query}.items())
        return self._rest(f"/v1/{path}?{asked}")

    def put(self, path: str, body: Any) -> Any:
        return self._rest(f"/v1/{path}?namespace={self.namespace}", body)

    def delete(self, path: str, **query: str) -> None:
        asked = "&".join(f"{name}={value}" for name, value in {"namespace": self.namespace, **query}.items())
        headers = {"X-Nomad-Token": self.access.token}
        url = f"{self.access.url}/v1/{path}?{asked}"
        response = self._kept.request("DELETE", url, headers=headers, timeout=10, retries=False)
        if response.status >= 300:
            raise RuntimeError(f"{path} was not deleted: {response.status} {response.data[:200]!r}")

    def purge(self, name: str) -> None:
        """Remove a job completely, as Nomad's garbage collection or an operator does."""
        self.delete(f"job/{name}", purge="true")

    def close(self) -> None:
        for job in self.get("jobs"):
            self.purge(job["ID"])
        for variable in self.get("vars"):
            self.delete(f"var/{variable['Path']}")
        self.revoke()
        self.delete(f"acl/policy/{self.namespace}")
