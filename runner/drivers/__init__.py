"""Drivers: each brings jobs to one kind of cluster and looks after them there.

In here: the protocol that all drivers keep, and one module (or a few with its name in front) for each driver. What a
driver promises is written down in `tests/conformance`, one suite for all of them. Not in here: what a job consists of
(`runner.commands` decides that) and what its end means (`runner.tracker.outcomes`). A driver's library never leaks: its
exceptions become ours, with the cause chained.
"""
