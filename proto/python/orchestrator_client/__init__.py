"""The Orchestrator's gRPC contract for clients: `orchestrator_client.v1` has its messages and the stub `TasksStub`.

betterproto generates it from `orchestrator/v1/tasks.proto`. The package contains nothing else, and no server code.
"""
