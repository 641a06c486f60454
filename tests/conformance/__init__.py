"""What every driver promises, as tests: one suite, each test once for every driver that can show it.

A new driver gets a module in `clusters/` that opens its `Cluster`, and a line in the table of `clusters/__init__.py`
that says what it can show. Nothing else changes. `pytest tests/conformance -k kubernetes` runs
one driver's part.
"""
