"""Tests that need a real Nomad. If none can run, they are skipped with the reason; with CI=true they fail."""
