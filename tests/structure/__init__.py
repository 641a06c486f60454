"""Bounds on the shape of the code: `python -m tests.structure` prints them per package and fails where one is exceeded.

In here: sizes of modules, functions and folders, names that stand for two things, words that this project does not use.
Not in here: style and complexity (ruff), and which package may import which (`.importlinter`).
"""
