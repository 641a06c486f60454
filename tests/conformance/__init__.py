"""The guarantees of every driver as one test suite. Each test runs for every driver that has the abilities it needs.

A new driver needs a module in `clusters/` that opens its `Cluster`, and a line with its abilities in
`clusters/__init__.py`. Nothing else changes. `pytest tests/conformance -k kubernetes` runs one driver's tests.
"""
