"""Records a release: `python -m tests.releases.record VERSION CODE`. See the README beside this file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(version: str, code: Path) -> int:
    """Run the recorder in the release's tree, with the release's own Python. Gives its exit code."""
    python = code / ".venv" / "bin" / "python"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(code), str(HERE)))}
    return subprocess.run([python, "-P", "-m", "recorder", HERE / version], cwd=code, env=environment).returncode


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m tests.releases.record VERSION CODE, like 0.1 /tmp/release-0.1")
    sys.exit(main(sys.argv[1], Path(sys.argv[2]).resolve()))
