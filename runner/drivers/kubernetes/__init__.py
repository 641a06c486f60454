"""The Kubernetes driver: a job is a `batch/v1` Job and a Secret that it owns.

In here: the driver, the API server's client, manifests, and what a Job's and its pods' statuses say. Not in here: what
an end means for atlas (`runner.tracker`).
"""
