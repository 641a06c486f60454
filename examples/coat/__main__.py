"""coat as a program: `python examples/coat`, or an archive of this directory, which `python -m zipapp` makes.

Python puts the directory or the archive first on its path, so the package needs no installation.
"""

import os
import sys
from pathlib import Path

from coat.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ, Path(__file__).parent))
