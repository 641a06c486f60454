"""The seams of the real code, simulated: clock, tasks and signals in virtual time, and the network with its faults."""
