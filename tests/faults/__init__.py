"""Faults of the Orchestrator's own processes: they are killed, stopped, signalled, or run out of file descriptors.

In here: ends of processes, signals and resource limits. Not in here: faults of clusters (`tests/kubernetes`,
`tests/nomad`). A test waits for events, not for a fixed time. Fixtures end every process, orphans included.
"""
