"""The Kubernetes driver: a job is a `batch/v1` Job and a Secret that the Job owns.

In here: the driver, the API server's client, manifests, and the translation of the status of a Job and its pods into
an Observation. Not in here: what the end of a job means for atlas (`runner.tracker`).
"""
