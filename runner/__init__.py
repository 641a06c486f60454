"""The sidecar: it turns validated requests into commands, commands into jobs, and has a driver run them.

In here: payloads (what atlas sends), commands (request to jobs, pure), drivers (jobs to a cluster), the pool of
worker processes that owns the drivers' connections, its socket protocol and client, the configuration, the CLI.
Not in here: anything that speaks HTTP, gRPC or AMQP with atlas about requests; that is `functions/`.
"""

__version__ = "1.0.0"
"""The version of the server, the client package under proto/ and the chart. docs/upgrade.md says what it promises."""
