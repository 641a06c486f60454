"""The tracker: follows every job to its end and makes sure that atlas hears of it.

In here: how an end is judged (pure), what is published of it (pure), publishing with retries, the lock that keeps one
tracker active. Not in here: how a cluster is asked (drivers), and cancelling jobs (`runner.sidecar`).
"""
