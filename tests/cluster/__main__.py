"""`python -m tests.cluster up|down|status`.

Exit codes: 0 on success, 1 when the action failed. `status` exits with 3 when the cluster isn't ready
(LSB's exit status for "program is not running").
"""

import argparse
import sys

from .access import Cluster
from .errors import ClusterError
from .lifecycle import describe, down, status, up

_DONE, _FAILED, _NOT_RUNNING = 0, 1, 3


def main(arguments: list[str]) -> int:
    """Run the action and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster")
    parser.add_argument("action", choices=("up", "down", "status"))
    action = parser.parse_args(arguments).action
    try:
        if action == "up":
            print(_summary(up()))
        elif action == "down":
            down()
        else:
            return _status()
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return _FAILED
    return _DONE


def _status() -> int:
    pids, problem = status()
    for name, pid in pids.items():
        print(f"{name:<24} {pid or '-'}")
    if problem:
        print(problem)
        return _NOT_RUNNING
    print(_summary(describe()))
    return _DONE


def _summary(cluster: Cluster) -> str:
    """The clusters' addresses and the shell commands that use them."""
    kubernetes, nomad = cluster.kubernetes, cluster.nomad
    return "\n".join(
        (
            f"Kubernetes {kubernetes.version} at {kubernetes.url}, host seen as {kubernetes.host}",
            f"  {kubernetes.kubectl} --kubeconfig {kubernetes.kubeconfig}",
            f"Nomad {nomad.version} at {nomad.url}, host seen as {nomad.host}",
            f"  NOMAD_ADDR={nomad.url} NOMAD_CACERT={nomad.ca} \\",
            f"  NOMAD_TOKEN=$(cat {nomad.token_file}) {nomad.nomad}",
        )
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
