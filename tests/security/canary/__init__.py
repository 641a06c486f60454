"""Markers in place of every secret, real runs over every protocol and driver, and a search for the markers.

    python -m tests.security.canary          the runs of CI: every pair of type, protocol, driver and end
    python -m tests.security.canary --all    every combination

`fields` says what is secret, `pairs` which runs there are, `programs` what a job does, `stand` is one installation with
its broker, clusters and atlas, and `search` looks into every place where a secret must not be.
"""
