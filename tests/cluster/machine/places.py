"""The directories of the test cluster: the cache, which `down` keeps, and the running cluster's state.

Both are outside the repository, so that neither git nor a package contains a binary or a key.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

STATE_VARIABLE = "ORCHESTRATOR_CLUSTER_STATE"


@dataclass(frozen=True)
class Places:
    """The two directories. They are created when they are needed."""

    cache: Path  # binaries by version, root file systems by recipe; `down` keeps it
    state: Path  # the one running cluster: keys, logs, data, sockets; `down` removes it

    @property
    def lock(self) -> Path:
        """The file that `up` and `down` lock. It is in the cache, since `down` removes the state."""
        return self.cache / "cluster.lock"


def places(environ: Mapping[str, str] = os.environ) -> Places:
    """The directories, from the environment or the defaults.

    The cache follows the XDG Base Directory Specification. The state's path is short, because the
    path of a Unix socket below it must fit into 107 bytes (unix(7)).
    """
    home = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    state = Path(environ.get(STATE_VARIABLE) or "/var/tmp/orchestrator-cluster")
    return Places(cache=home / "orchestrator-cluster", state=state.absolute())
