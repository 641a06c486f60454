"""The one error of the test cluster."""


class ClusterError(Exception):
    """The test cluster can't be built, started or stopped; the text says what to do about it."""
