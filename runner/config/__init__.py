"""The configuration: its types, reading it from a file and the environment, and typed reading of JSON.

In here: one struct per section with units and bounds, the rules between sections, errors that name every bad field.
Not in here: anything that opens a connection, and anything that uses the values.
"""
