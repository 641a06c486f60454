"""What every process of the Orchestrator stands on: clock, backoff, waiting without threads, logs, exit codes.

In here: small parts without knowledge of requests, jobs or clusters. Not in here: anything that imports another package
of ours, apart from the errors and the masking of logs.
"""
