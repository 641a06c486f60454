"""The configuration: its sections and their rules, reading it from a file and the environment, typed reading of JSON.

In here: one struct per section with units and bounds, the rules between values, errors that name every bad field.
Not in here: anything that opens a connection, and anything that uses the values.
"""
