"""Two replicas behind nginx, replaced under requests: as processes of this host, and as the chart on Kubernetes."""
