"""Holds the promises against the history of one run: requests, answers, what atlas got, and what truly happened.

In here: what may be said of a name, and when it must be said. No code of the product is used.
"""
