"""A simulated Kubernetes: an API server, controllers that lag, and nodes on which pods meet their fates."""
