"""The edge: one function per request type, each also a WSGI application of its own.

In here: the request types' functions, authentication, and a package for each protocol (`http`, `grpc`, `amqp`). A
function decodes, validates and submits a request to the sidecar; it may import `runner.payloads`, the table of request
types, the sidecar's clients and the errors, nothing else of the runner. Not in here: anything that knows a cluster.
"""
