"""This machine as a host of clusters: packages, daemons, networks, control groups and directories."""
