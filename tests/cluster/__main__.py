"""`python -m tests.cluster up|down|status`.

Ends with 0 when all is well, 1 when it couldn't be done, and `status` with 3 when the cluster isn't
in order (the number that LSB gives to "program is not running").
"""

import argparse
import sys

from .access import Cluster
from .errors import ClusterError
from .lifecycle import describe, down, status, up

_DONE, _FAILED, _NOT_RUNNING = 0, 1, 3


def main(arguments: list[str]) -> int:
    """Do as told; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster")
    parser.add_argument("action", choices=("up", "down", "status"))
    action = parser.parse_args(arguments).action
    try:
        if action == "up":
            print(_account(up()))
        elif action == "down":
            down()
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
    print(_account(describe()))
    return _DONE


def _account(cluster: Cluster) -> str:
    """What was made, for a person with a shell."""
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
