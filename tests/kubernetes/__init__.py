"""Tests that need a real Kubernetes: permissions, admission, quota, and faults of the API server."""
