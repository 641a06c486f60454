"""The Nomad driver: a job is a batch job with a prestart task, and a Variable at its path.

In here: the driver, Nomad's client, specifications, the Variable that is lock and memory of a job, and what
allocations say. Not in here: what an end means for atlas (`runner.tracker`).
"""
