"""Metrics: what is measured, how processes record it, and the process that serves it at `metrics.bind`.

Every process writes its numbers into files of one directory, beside the sidecar's socket (`files`). prometheus_client
does that. One process for each host or pod, `python -m runner metrics`, reads them and serves the sum (`exporter`). So
an installation has one endpoint, whatever shares a port, and nothing in a request waits for a scrape. `up`, `serve` and
`track` start it; functions that are started alone record if the directory exists when they start.

In here: names, labels, recording, serving. Not in here: when something is counted, which its own package decides.
"""
