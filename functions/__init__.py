"""The edge: one function per request type, each also a WSGI application of its own.

In here: the request types' functions, the ways in (HTTP here; others beside it), authentication. A function decodes,
validates and hands over to the sidecar; it may import `runner.payloads`, `runner.client` and the errors they raise,
nothing else of the runner. Not in here: anything that knows a cluster, or the configuration file.
"""

ARRIVED = "orchestrator.arrived"
"""In a WSGI environment: when the request's head arrived (on the monotonic clock), where its server knows."""
