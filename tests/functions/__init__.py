"""The functions as they are deployed: gunicorn with its configuration file, a sidecar beside it, real sockets."""
