"""Keys, tokens and masking.

In here: the two RSA keys of the configuration, result tokens, masking of credentials in text. Not in here: who may send
requests (`functions.bearer`), and where a job's secrets are stored (drivers).
"""
