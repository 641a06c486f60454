"""`python -m functions.grpc`."""

import sys

from functions.grpc.server import main

if __name__ == "__main__":
    sys.exit(main())
