"""HTTP requests to servers: one request and its whole response, for the drivers and the tracker's publisher.

In here: the client that others see (`client`), and the one by libcurl (`curl`, `lines`, `transfers`): connection reuse,
deadlines, how a failed transfer becomes one of our errors. Not in here: what is asked of which server, and credentials.
"""
