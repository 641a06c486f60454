"""`python -m functions.amqp`."""

import sys

from functions.amqp.server import main

if __name__ == "__main__":
    sys.exit(main())
