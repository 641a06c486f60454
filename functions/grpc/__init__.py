"""The gRPC protocol: `python -m functions.grpc` serves every request type of the table as one unary method.

In here: the HTTP/2 session and its bounds, calls, messages to payloads and back, errors as gRPC statuses, health, TLS.
Not in here: what a request means (`functions.function`), Falcon, and any other protocol.
"""
