"""Where the test cluster keeps things: the cache outlives it, the state is the running cluster.

Both are outside the repository, so that neither git nor a packager ever sees a binary or a key.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

STATE_VARIABLE = "ORCHESTRATOR_CLUSTER_STATE"


@dataclass(frozen=True)
class Places:
    """The two directories; nothing is made before it is needed."""

    cache: Path  # binaries by version, root file systems by recipe; `down` leaves it alone
    state: Path  # the one running cluster: keys, logs, data, sockets; `down` removes it

    @property
    def lock(self) -> Path:
        """Whose lock `up` and `down` hold; in the cache, since `down` removes the state."""
        return self.cache / "cluster.lock"


def places(environ: Mapping[str, str] = os.environ) -> Places:
    """The directories that the environment asks for.

    The cache follows the XDG Base Directory Specification; the state is short, because the path of
    a Unix socket below it must fit into 107 bytes (unix(7)).
    """
    home = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    state = Path(environ.get(STATE_VARIABLE) or "/var/tmp/orchestrator-cluster")
    return Places(cache=home / "orchestrator-cluster", state=state.absolute())
