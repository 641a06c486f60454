"""The Nomad driver: a job is a Nomad batch job with a prestart task, and a Nomad Variable at the job's path.

In here: the driver, Nomad's client, job specifications, the Variable that locks and records a job, and the translation
of allocations into an Observation. Not in here: what the end of a job means for atlas (`runner.tracker`).
"""
