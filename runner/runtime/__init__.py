"""What every process of the Orchestrator uses: clock, backoff, waiting by thread or greenlet, logs, exit codes.

In here: small parts without knowledge of requests, jobs or clusters. Not in here: anything that imports another package
of this project, apart from the errors and the masking of logs.
"""
