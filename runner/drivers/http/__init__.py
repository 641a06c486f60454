"""HTTP requests to clusters: one request and its whole answer, by libcurl.

In here: transfers, connection reuse, deadlines, how a failed transfer becomes one of our errors. Not in here: what is
asked of which cluster, and credentials.
"""
