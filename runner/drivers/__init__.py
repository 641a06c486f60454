"""Drivers: each creates jobs on one kind of cluster and manages them there.

In here: the protocol that all drivers implement, one package or module for each driver, and the HTTP client that they
share. `tests/conformance` specifies the protocol; every driver passes the same suite. Not in here: what a job consists
of (`runner.commands`) and what its end means (`runner.outcomes`). A driver's library never leaks: its
exceptions are raised as ours (`runner.errors`), with the cause chained.
"""
