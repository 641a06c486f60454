"""A made-up request type, `echo_run`: everything that adding one takes, and nothing else.

`payload.py`, `plan.py`, `row.py` with the shape of its failure report, `function.py`, and `contract.py` with its gRPC
call and message. `python -m tests.new_request_type MODULE ARGUMENT...` runs one of the project's programs with that row
in the table. The tests that send it stand beside the suites whose servers they use:
`tests/protocols/test_new_request_type.py` and `tests/conformance/test_new_request_type.py`.
"""
