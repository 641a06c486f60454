"""What only a real Kubernetes can show: its permissions, its admission, its quota, and its bad days."""
