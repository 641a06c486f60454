"""The tests, by what they show.

unit: values in, values out. conformance: every driver against one suite. functions: the HTTP door, really served.
protocols: one corpus of payloads through all doors, and each door on its bad days. faults: what holds when our own
processes die. kubernetes, nomad: what only the real servers show. acceptance: the whole loop on both. examples: the
example atlas, coat and marvin. docs: what the documents say. new_request_type: a made-up request type, which protocols
and conformance send.

cluster builds and starts the real servers, for `make cluster` and for the tests that need them. bench is no test.
"""
