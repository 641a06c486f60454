"""The test cluster's only exception class."""


class ClusterError(Exception):
    """The test cluster can't be built, started or stopped. The message says what failed and why."""
