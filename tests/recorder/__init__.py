"""A recorder for the real servers: what the clusters have, and what atlas got. It knows nothing of the code under test.

It imports the standard library, msgspec, urllib3 and `tests.cluster` only: nothing of `runner` or `functions`.
"""
