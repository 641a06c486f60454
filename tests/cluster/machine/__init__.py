"""This machine as the host of the clusters: packages, daemons, networks, control groups and directories."""
