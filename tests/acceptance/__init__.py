"""From request to result on real clusters: atlas sends a request, a job runs in containers, atlas gets the result."""
