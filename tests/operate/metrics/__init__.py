"""What is measured: names, labels, processes, protocols, and the requests to real clusters."""
