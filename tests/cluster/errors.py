"""The error of the test cluster."""


class ClusterError(Exception):
    """The test cluster can't be built, started or stopped. The text gives the reason."""
