"""A simulated Nomad: an agent, a scheduler that lags, and nodes on which allocations meet their fates."""
