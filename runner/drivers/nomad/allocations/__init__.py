"""What a job's allocations show: how its tasks ended, and why none of them has started yet. Pure."""
