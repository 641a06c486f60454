"""Values in, values out: what decides, without processes, sockets or clusters."""
