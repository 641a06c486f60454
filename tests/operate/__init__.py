"""What an operator sees: lists, explanations, metrics, alerts, the runbook."""
