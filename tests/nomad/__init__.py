"""What only a real Nomad can show. Skipped, with the reason, where none can run; with CI=true that is an error."""
