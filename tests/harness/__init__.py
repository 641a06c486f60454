"""What several suites share: clocks and deadlines, processes, raw HTTP, and servers that follow a script or break."""
