"""The tests, by what they show.

unit: values in, values out. conformance: every driver against one suite. functions: the HTTP door, really served.
faults: what holds when our processes die. examples: the example atlas, coat and marvin. docs: what the documents say.
"""
