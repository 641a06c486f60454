"""Servers that a test controls: a proxy that injects faults, and a sidecar and an HTTP server that follow a script."""
