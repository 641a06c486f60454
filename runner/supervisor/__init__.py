"""The supervisor behind `up` and `serve`: starts the processes of one host or pod, replaces those that end, stops all.

    sidecar ─▶ tracker ─▶ protocols (http, grpc, amqp)        started from left to right, stopped from right to left

In here: which processes a configuration needs, and keeping them running. Not in here: what those processes do.
"""
