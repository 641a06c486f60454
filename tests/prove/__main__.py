"""`python -m tests.prove [SCENARIO ...]`: run the proofs, print the recorder's tables, exit with 1 if one fails."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests import cluster
from tests.prove.api_faults import api_faults, api_faults_nomad
from tests.prove.cancels import cancels_kubernetes, cancels_nomad
from tests.prove.kills import kills
from tests.prove.outage import atlas_outage
from tests.prove.reasons import reasons_kubernetes, reasons_nomad
from tests.prove.replicas import replicas
from tests.prove.rollouts.chart import rollouts_chart
from tests.prove.rollouts.processes import rollouts
from tests.prove.stage import Proof, Settings

SCENARIOS: dict[str, tuple[Callable[[Settings], Proof], int]] = {
    "reasons-kubernetes": (reasons_kubernetes, 0),
    "reasons-nomad": (reasons_nomad, 0),
    "atlas-outage": (atlas_outage, 2000),
    "kills": (kills, 2000),
    "api-faults": (api_faults, 400),
    "api-faults-nomad": (api_faults_nomad, 60),
    "replicas": (replicas, 500),
    "rollouts": (rollouts, 2000),
    "rollouts-chart": (rollouts_chart, 2000),
    "cancels-kubernetes": (cancels_kubernetes, 300),
    "cancels-nomad": (cancels_nomad, 300),
}
"""By name: the scenario, and how many ends its full size has; 0 where the scenario itself decides."""


def main() -> int:
    chosen = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that everything is cleared away
    if reason := cluster.missing():
        sys.exit(f"the proofs need the test cluster: {reason}")
    servers = cluster.up()
    right = True
    for name in chosen.scenarios or SCENARIOS:
        scenario, ends = SCENARIOS[name]
        settings = Settings(
            cluster=servers,
            code=chosen.code.resolve(),
            ends=chosen.ends or ends,
            seed=chosen.seed,
            minutes=chosen.minutes,
            restart_server=chosen.restart_server,
        )
        began = time.monotonic()
        proof = scenario(settings)
        right = right and proof.right
        print(proof.shown(name))
        print(f"  {'right' if proof.right else 'WRONG'}, {time.monotonic() - began:.0f} s\n", flush=True)
    return 0 if right else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.prove", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", type=_known, help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--ends", type=int, default=0, help="ends of each scenario; its own full size where 0")
    parser.add_argument("--seed", type=int, default=1, help="decides what is killed and cancelled when")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long atlas is away")
    parser.add_argument("--code", type=Path, default=Path(), help="the directory of the code under test")
    parser.add_argument("--restart-server", action="store_true", help="really restart the API server of the cluster")
    return parser


def _known(name: str) -> str:
    if name not in SCENARIOS:
        raise argparse.ArgumentTypeError(f"there is no scenario {name!r}; use one of {', '.join(SCENARIOS)}")
    return name


if __name__ == "__main__":
    sys.exit(main())
