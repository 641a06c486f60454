"""Servers that behave as a test wants: a proxy that breaks connections, a sidecar and a server that follow a script."""
