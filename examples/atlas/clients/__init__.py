"""Clients that send a task to the Orchestrator: one module for each protocol, the same `send` in all.

`send` repeats the task until a job is promised: only a 2xx, an OK or the broker's confirmation is that promise. In
here: what one protocol needs. Not in here: what is in a task.
"""
