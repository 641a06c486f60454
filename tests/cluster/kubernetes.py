"""A Kubernetes cluster of one node: etcd, the control plane and a kubelet.

For the flags see the "Command line tools" reference of Kubernetes. The kubelet's configuration is a
KubeletConfiguration (v1beta1). The tests rely on some defaults: Pod Security and ResourceQuota
admission are on, and API priority and fairness answers 429.
"""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .access import KubernetesAccess
from .binaries import KUBERNETES
from .certificates import Authority, Pair, signing_key
from .errors import ClusterError
from .machine import cgroups
from .machine.addresses import (
    API_SERVER,
    CONTROLLER_MANAGER,
    ETCD,
    ETCD_PEER,
    FIRST_SERVICE,
    HOST,
    KUBELET,
    KUBELET_HEALTH,
    LOOPBACK,
    SCHEDULER,
    SERVICES,
    closed,
    require_free,
)
from .machine.containerd import Containerd
from .machine.daemons import Daemons
from .machine.network import RESOLVER
from .rest import Rest

NODE = "node-1"
SERVER = ("etcd", "kube-apiserver")
DAEMONS = (*SERVER, "kube-controller-manager", "kube-scheduler", "kubelet")

_URL = f"https://{HOST}:{API_SERVER}"  # on the bridge: pods and the host can both reach it
_SERVER_NAMES = (HOST, LOOPBACK, "localhost", FIRST_SERVICE, "kubernetes.default.svc")


@dataclass(frozen=True)
class Kubernetes:
    """The five daemons, with their certificates and configuration."""

    daemons: Daemons
    binaries: Path

    @property
    def directory(self) -> Path:
        """The directory of its keys, configuration and data."""
        return self.daemons.places.state / "kubernetes"

    @property
    def access(self) -> KubernetesAccess:
        """Addresses and credentials for clients. Raises ClusterError if there is no cluster."""
        return KubernetesAccess(
            url=_URL,
            ca=self._authority.pair.certificate,
            kubeconfig=self.directory / "admin.kubeconfig",
            token=self._token(),
            host=HOST,
            node=NODE,
            kubectl=self.binaries / "kubectl",
            version=KUBERNETES.version,
        )

    def start_server(self) -> None:
        """Start etcd and the API server, unless they run. Then wait until `server_trouble` is None."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._authority.create()
        self._start_etcd()
        self._start_api_server()

    def start_clients(self, containerd: Containerd) -> None:
        """Start the other daemons. They exit if the API server or containerd isn't ready."""
        self._start_controllers()
        self._start_kubelet(containerd)

    def server_trouble(self) -> str | None:
        """Why the API server doesn't serve yet, or None if it does."""
        try:
            self._rest()("/readyz")
        except ClusterError as error:
            return f"Kubernetes: {error}"
        return None

    def trouble(self) -> str | None:
        """Why the cluster can't run pods, or None if it can.

        The default service account must exist, since no pod is admitted without it. The node must
        have no taints; they are removed a moment after it is Ready. The ports must be open, since
        the node stays Ready for most of a minute after its kubelet has ended.
        """
        if ports := closed(LOOPBACK, CONTROLLER_MANAGER, SCHEDULER, KUBELET_HEALTH):
            return f"Kubernetes: no process listens on {ports}"
        try:
            node = self._rest()(f"/api/v1/nodes/{NODE}")
            self._rest()("/api/v1/namespaces/default/serviceaccounts/default")
        except ClusterError as error:
            return f"Kubernetes: {error}"
        ready = next(c for c in node["status"]["conditions"] if c["type"] == "Ready")
        if ready["status"] != "True":
            return f"Kubernetes: node not ready: {ready['message']}"
        if taints := node["spec"].get("taints"):
            return f"Kubernetes: node tainted: {taints}"
        return None

    def _start_etcd(self) -> None:
        if self.daemons.pid("etcd") is None:
            require_free(LOOPBACK, ETCD, ETCD_PEER)
        peer = f"http://{LOOPBACK}:{ETCD_PEER}"
        self.daemons.start(
            "etcd",
            "/usr/bin/etcd",
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls=http://{LOOPBACK}:{ETCD}",
            f"--advertise-client-urls=http://{LOOPBACK}:{ETCD}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",  # the data needn't survive a crash of the machine
            "--quota-backend-bytes=8589934592",
        )

    def _start_api_server(self) -> None:
        name = "kube-apiserver"
        if self.daemons.pid(name) is None:
            require_free(HOST, API_SERVER)
        serving = self._authority.issue("kube-apiserver", hosts=_SERVER_NAMES)
        to_kubelet = self._authority.issue("system:apiserver")
        tokens = self.directory / "tokens.csv"
        if not tokens.exists():
            tokens.write_text(f"{secrets.token_hex(32)},admin,admin,system:masters\n")
            tokens.chmod(0o600)
        self._kubeconfig("admin", {"token": self._token()})
        signing = signing_key(self.directory / "service-accounts.key")
        self.daemons.start(
            name,
            self.binaries / name,
            f"--etcd-servers=http://{LOOPBACK}:{ETCD}",
            f"--bind-address={HOST}",
            f"--advertise-address={HOST}",
            f"--secure-port={API_SERVER}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            f"--client-ca-file={self._authority.pair.certificate}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--service-account-issuer={_URL}",
            f"--service-account-key-file={signing}",
            f"--service-account-signing-key-file={signing}",
            f"--service-cluster-ip-range={SERVICES}",
            f"--kubelet-certificate-authority={self._authority.pair.certificate}",
            f"--kubelet-client-certificate={to_kubelet.certificate}",
            f"--kubelet-client-key={to_kubelet.key}",
            "--kubelet-preferred-address-types=InternalIP",
            "--allow-privileged",
        )

    def _start_controllers(self) -> None:
        """Start the controller manager and the scheduler, without limits that slow the tests down."""
        fast = ("--kube-api-qps=500", "--kube-api-burst=1000", "--leader-elect=false")
        local = f"--bind-address={LOOPBACK}"
        controllers = "system:kube-controller-manager"
        if self.daemons.pid("kube-controller-manager") is None:
            require_free(LOOPBACK, CONTROLLER_MANAGER)
        self.daemons.start(
            "kube-controller-manager",
            self.binaries / "kube-controller-manager",
            *(*fast, local, f"--secure-port={CONTROLLER_MANAGER}"),
            f"--kubeconfig={self._kubeconfig(controllers, self._certificate(controllers))}",
            f"--root-ca-file={self._authority.pair.certificate}",
            f"--service-account-private-key-file={self.directory / 'service-accounts.key'}",
            "--use-service-account-credentials",  # each controller has its own role, as in production
            "--concurrent-job-syncs=20",
            "--concurrent-gc-syncs=20",
            "--concurrent-ttl-after-finished-syncs=20",
        )
        scheduler = "system:kube-scheduler"
        if self.daemons.pid("kube-scheduler") is None:
            require_free(LOOPBACK, SCHEDULER)
        self.daemons.start(
            "kube-scheduler",
            self.binaries / "kube-scheduler",
            *(*fast, local, f"--secure-port={SCHEDULER}"),
            f"--kubeconfig={self._kubeconfig(scheduler, self._certificate(scheduler))}",
        )

    def _start_kubelet(self, containerd: Containerd) -> None:
        if self.daemons.pid("kubelet") is None:
            require_free(HOST, KUBELET)
            require_free(LOOPBACK, KUBELET_HEALTH)
        node = f"system:node:{NODE}"
        configuration = self.directory / "kubelet.json"
        configuration.write_text(json.dumps(self._kubelet_configuration(containerd)))
        certificate = self._certificate(node, "system:nodes")
        self.daemons.start(
            "kubelet",
            self.binaries / "kubelet",
            f"--config={configuration}",
            f"--kubeconfig={self._kubeconfig(node, certificate)}",
            f"--hostname-override={NODE}",
            f"--node-ip={HOST}",
            f"--root-dir={self.directory / 'kubelet'}",
        )

    def _kubelet_configuration(self, containerd: Containerd) -> dict[str, Any]:
        serving = self._authority.issue("kubelet", hosts=(HOST,))
        resolver = self.directory / "resolv.conf"
        resolver.write_text(RESOLVER)
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": HOST,
            "port": KUBELET,
            "healthzPort": KUBELET_HEALTH,
            "tlsCertFile": str(serving.certificate),
            "tlsPrivateKeyFile": str(serving.key),
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": False},
                "x509": {"clientCAFile": str(self._authority.pair.certificate)},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": f"unix://{containerd.socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": cgroups.PATH,
            "failCgroupV1": False,
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,
            "resolvConf": str(resolver),
            "clusterDNS": [LOOPBACK],  # as in RESOLVER; without it, every pod gets a warning event
            "maxPods": 250,
            "kubeAPIQPS": 500,
            "kubeAPIBurst": 1000,
            "eventRecordQPS": 0,  # no limit
            "serializeImagePulls": False,
            "oomScoreAdj": 0,  # the process's value; a lower one requires CAP_SYS_RESOURCE
            # Loaded images can't be pulled again, so they must stay even if the disk is full.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "100Mi"},
        }

    @property
    def _authority(self) -> Authority:
        return Authority(self.directory / "pki", "orchestrator-cluster Kubernetes")

    def _certificate(self, user: str, group: str = "") -> dict[str, str]:
        """The credentials of a kubeconfig's user, as a client certificate."""
        pair: Pair = self._authority.issue(user, group=group)
        return {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}

    def _kubeconfig(self, user: str, credentials: dict[str, str]) -> Path:
        """Write a kubeconfig for the user, as JSON, which is valid YAML."""
        path = self.directory / f"{user.replace(':', '-')}.kubeconfig"
        server = {"server": _URL, "certificate-authority": str(self._authority.pair.certificate)}
        context = {"cluster": "orchestrator", "user": user}
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "orchestrator", "cluster": server}],
                    "users": [{"name": user, "user": credentials}],
                    "contexts": [{"name": "orchestrator", "context": context}],
                    "current-context": "orchestrator",
                },
                indent=2,
            )
        )
        path.chmod(0o600)
        return path

    def _token(self) -> str:
        try:
            return (self.directory / "tokens.csv").read_text().partition(",")[0]
        except FileNotFoundError as error:
            raise ClusterError("Kubernetes isn't running; run `python -m tests.cluster up`") from error

    def _rest(self) -> Rest:
        authorization = ("Authorization", f"Bearer {self._token()}")
        return Rest(_URL, self._authority.pair.certificate, (authorization,))
