"""`python -m tests.cluster up|down|status|build`.

Exit codes: 0 after success, 1 after an error, and 3 if `status` finds that the cluster isn't ready
(3 means "program is not running" in the Linux Standard Base).
"""

import argparse
import sys

from .access import Cluster
from .errors import ClusterError
from .lifecycle import build, describe, down, status, up

_DONE, _FAILED, _NOT_RUNNING = 0, 1, 3


def main(arguments: list[str]) -> int:
    """Run the action. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster")
    parser.add_argument("action", choices=("up", "down", "status", "build"))
    action = parser.parse_args(arguments).action
    try:
        if action == "up":
            print(_description(up()))
        elif action == "down":
            down()
        elif action == "build":
            build()
        else:
            return _status()
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return _FAILED
    return _DONE


def _status() -> int:
    pids, trouble = status()
    for name, pid in pids.items():
        print(f"{name:<24} {pid or '-'}")
    if trouble:
        print(trouble)
        return _NOT_RUNNING
    print(_description(describe()))
    return _DONE


def _description(cluster: Cluster) -> str:
    """Addresses, and the commands to use the cluster from a shell."""
    kubernetes, nomad = cluster.kubernetes, cluster.nomad
    return "\n".join(
        (
            f"Kubernetes {kubernetes.version} at {kubernetes.url}, pods reach this host at {kubernetes.host}",
            f"  {kubernetes.kubectl} --kubeconfig {kubernetes.kubeconfig}",
            f"Nomad {nomad.version} at {nomad.url}, containers reach this host at {nomad.host}",
            f"  NOMAD_ADDR={nomad.url} NOMAD_CACERT={nomad.ca} \\",
            f"  NOMAD_TOKEN=$(cat {nomad.token_file}) {nomad.nomad}",
        )
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
