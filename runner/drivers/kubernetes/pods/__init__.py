"""What the pods of a Job show: what its own containers did, and what the versions of its pods show together. Pure.

No requests, no clock: values in, values out.
"""
