"""Keys, tokens and masking.

In here: the two RSA keys of the configuration, result tokens, masking of credentials in text. Not in here: the check of
a request's bearer token (`functions.bearer`), and the storage of a job's secrets (drivers).
"""
