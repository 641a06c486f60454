"""The sidecar: the pool of processes that owns the drivers' connections, and its socket protocol.

In here: frames (values to bytes), the pool and its workers, the server that answers a frame, the clients that functions
use. Not in here: what a request means (`runner.commands`), and how a cluster is spoken to (`runner.drivers`).
"""
