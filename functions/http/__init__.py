"""The HTTP protocol: a WSGI application around one or more functions, and the gunicorn worker that serves it.

In here: reading a request's body, its answer and its errors as problem+json, health checks, the worker class that
`gunicorn.conf.py` names. Not in here: what a request means (`functions.function`), and any other protocol.
"""
