"""The tests, in one folder for each kind.

- unit: pure functions and single classes, without other processes.
- conformance: every driver against one suite.
- functions: the HTTP server, served by gunicorn.
- protocols: one corpus of payloads over HTTP, gRPC and RabbitMQ, and the faults of the gRPC and RabbitMQ servers.
- faults: behaviour when the Orchestrator's own processes are killed, stopped, signalled or short of resources.
- kubernetes, nomad: behaviour that only the real servers show.
- outcomes: how each situation that a real server has shown is judged.
- model: the protocols as models, explored completely; each guard is taken away in turn.
- simulation: the real code in a simulated world, by seeds; mutants of the code that it must find.
- acceptance: from the request to the result, on both real clusters.
- releases: jobs and state that an earlier release has written.
- examples: the example atlas, coat and marvin.
- docs: the statements and examples of the documentation.
- structure: the sizes of modules, and the words in names and prose; `make lint` runs it.
- new_request_type: a made-up request type, which the suites of protocols and conformance send.

Not tests: cluster builds and starts the real servers, for `make cluster` and for the tests that need them. harness has
what several suites share, recorder what the real servers and atlas have. bench is `make bench`, prove is `make prove`.
"""
